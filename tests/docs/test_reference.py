"""What the documents list is what the code defines."""

import pytest

from tests.docs.reference import DOCS, main, parts, untrue, written

PAGE = """# Page

<!-- make docs: one -->
a
c
<!-- end -->

Text.
"""


@pytest.mark.parametrize("page", parts())
def test_a_page_says_nothing_that_is_not_so(page):
    assert list(untrue((DOCS / page).read_text(), parts()[page])) == []


def test_a_page_may_lack_what_is_new_but_says_nothing_else():
    assert list(untrue(PAGE, {"one": "a\nb\nc\n", "new": "d\n"})) == []
    assert list(untrue(PAGE, {"one": "a\nb\n"})) == ["one: c"]
    assert list(untrue(PAGE, {"one": "c\na\n"})) == ["one: c"]
    assert list(untrue(PAGE, {})) == ["one: a", "one: c"]


def test_the_parts_are_written_and_what_is_new_comes_last():
    after = written(PAGE, {"one": "b\n", "new": "d\n"})
    assert after == PAGE.replace("a\nc\n", "b\n") + ("\n## new\n\n<!-- make docs: new -->\nd\n<!-- end -->\n")
    assert written(after, {"one": "b\n", "new": "d\n"}) == after


def test_a_release_has_all_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.docs.reference.DOCS", tmp_path)
    for name in parts():
        (tmp_path / name).write_text("# Page\n")
    assert main(["--check"]) == 1
    assert "run make docs" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0
