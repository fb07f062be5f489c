"""Which files are specs, and which cases they are."""

import pytest

from runner.suite import collect as collecting
from runner.suite.collect import CollectError, collect

SPEC = '[vm]\nname = "x"\nmemory = "1MiB"\n[boot]\ncode = "f4"\nmode = "real"\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes files below the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".toml").write_text(text)
        return tmp_path

    return write


def names(*paths):
    return [case.name for case in collect(paths).cases]


def test_specs_below_a_folder_are_found_in_order_and_named_by_their_path(folder):
    root = folder(b__two=SPEC, b__one=SPEC, a=SPEC, _hidden__x=SPEC)
    (root / "_hidden").rename(root / ".hidden")
    (root / "link").symlink_to(root / "b")
    (root / "b" / "more.toml.lock").write_text(SPEC)
    assert names(root) == ["a", "b/one", "b/two"]


def test_a_spec_elsewhere_is_named_by_its_whole_path(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "x.toml").write_text(SPEC)
    folder(a=SPEC)
    assert names(other) == [f"{other}/x"]


def test_a_spec_that_is_given_twice_is_one_case(folder):
    root = folder(a=SPEC)
    assert names(root, root / "a.toml") == ["a"]


def test_two_files_of_one_name_are_told_apart(folder):
    root = folder(a=SPEC)
    (root / "a").write_text(SPEC)
    assert names(root / "a.toml", root / "a") == ["a.toml", "a"]


def test_toml_that_is_no_spec_is_passed_over_in_a_folder_and_broken_where_it_is_given(folder):
    root = folder(a=SPEC, pyproject="[project]\nname = 'x'\n")
    found = collect([root])
    assert ([case.name for case in found.cases], found.notes) == (
        ["a"], ("pyproject.toml: not a spec, because it has neither [vm] nor [boot]",),
    )  # fmt: skip
    (given,) = collect([root / "pyproject.toml"]).cases
    assert "project: unknown key" in given.broken


@pytest.mark.parametrize("text", ["x = [", SPEC + "memry = 1\n", SPEC + "[matrix]\nvm.vcpus = 3\n"])
def test_a_broken_spec_is_a_case(folder, text):
    (case,) = collect([folder(a=text)]).cases
    assert (case.name, case.broken != "") == ("a", True)


def test_a_combination_that_is_wrong_does_not_hide_the_others(folder):
    cases = collect([folder(a=SPEC + "[matrix]\nvm.vcpus = [1, 999]\n")]).cases
    assert [(case.name, case.demand.vcpus, case.broken != "") for case in cases] == [
        ("a[vm.vcpus=1]", 1, False), ("a[vm.vcpus=999]", 1, True),
    ]  # fmt: skip


def test_a_path_that_leads_nowhere(folder):
    root = folder()
    with pytest.raises(CollectError, match="none: there is no such file or folder"):
        collect([root / "none"])


def test_a_folder_that_cannot_be_listed_is_not_passed_over(folder):
    with pytest.raises(CollectError, match="gone: cannot be listed: No such file or directory"):
        [*collecting.below(folder() / "gone")]


def test_what_a_spec_needs_and_the_host_lacks_is_why_it_is_skipped(folder, monkeypatch):
    monkeypatch.setattr(collecting, "virtualizes", lambda: False)
    root = folder(a=SPEC + '[test]\nneeds = ["hardware", "vmlinuz", "a.toml", "/sys/class/net/none"]\n')
    (case,) = collect([root]).cases
    assert case.skip == (
        "this processor does not virtualize (no vmx or svm in /proc/cpuinfo), vmlinuz is missing, "
        "/sys/class/net/none is missing"
    )
    monkeypatch.setattr(collecting, "virtualizes", lambda: True)
    (root / "a.toml").write_text(SPEC + '[test]\nneeds = "hardware"\nstatus = 4\n')
    (case,) = collect([root]).cases
    assert (case.skip, case.status) == ("", 4)


def test_a_reason_to_skip_and_overrides_for_all(folder):
    root = folder(a=SPEC + '[test]\nskip = "today"\n', b=SPEC)
    cases = collect([root], ["vm.vcpus=2"]).cases
    assert [(case.skip, case.demand.vcpus, case.overrides) for case in cases] == [
        ("today", 2, ("vm.vcpus=2",)), ("", 2, ("vm.vcpus=2",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"), [("flags\t\t: fpu vmx", True), ("flags : svm", True), ("flags: fpu", False)]
)
def test_a_processor_that_virtualizes(monkeypatch, text, found):
    monkeypatch.setattr(collecting.Path, "read_text", lambda path: f"processor: 0\nvmx flags: ept\n{text}\n")
    assert collecting.virtualizes() is found
