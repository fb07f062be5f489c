"""Words of shell scripts, with their places."""

import pytest

from vmspec.exchange.shell import arguments, commands
from vmspec.schema.problems import SpecError


def words(text: str) -> list[list[str]]:
    return [[word.text for word in command] for command in commands(text, "x.sh") if command]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\tc\n", [["a", "b", "c"]]),
        ("a 'b  c' \"d $ e\" f\\ g\n", [["a", "b  c", "d $ e", "f g"]]),
        ("a \\\n  b\\\nc", [["a", "bc"]]),
        ("# no\na # b\nc#d", [["a"], ["c#d"]]),
        ("a; b | c && d & e", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("a > log 2>&1 < in b", [["a", "b"]]),
        ("X=1 Y='2 3'\na $X ${X}0 $Y \"$Y\"", [["a", "1", "10", "2", "3", "2 3"]]),
        ("a '$X' \"\\$X\" $Z", [["a", "$X", "$X", "$Z"]]),
        ("a $(nproc --all) `b c` ${X:-y}", [["a", "$(nproc --all)", "`b c`", "${X:-y}"]]),
        ("a \"\" ''", [["a", "", ""]]),
    ],
)
def test_words_of_a_script(text, expected):
    assert words(text) == expected


def test_places_are_where_words_begin():
    [command] = commands("a \\\n  'b' c", "x.sh")
    assert [word.place for word in command] == [("x.sh", 1, 1), ("x.sh", 2, 3), ("x.sh", 2, 7)]


def test_what_only_a_shell_could_replace_is_known():
    [command] = commands('X=1\na $X "$(b)" $Y', None)
    assert [word.unknown for word in command] == [None, None, "$(b)", "$Y"]


@pytest.mark.parametrize(("text", "line"), [("a 'b", 1), ('a\n "b', 2)])
def test_a_quote_without_an_end(text, line):
    with pytest.raises(SpecError, match=f"^x.sh:{line}:[0-9]+: a quote without an end$"):
        words(text)


def test_a_command_that_a_shell_has_split():
    assert [(word.text, word.place.source) for word in arguments(["run", "caf\udce9"])] == [
        ("run", "argument 1"),
        ("caf\0e9", "argument 2"),
    ]
