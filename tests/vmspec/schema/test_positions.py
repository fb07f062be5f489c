import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.schema.positions import find

# Documents are drawn as statements, and a statement that would make the document invalid is left out: tomllib judges.
KEYS = ["a", "b", "c-1", "0", '"a"', "'b'", '"x.y"', '"\\u00e9 \\" ]"', "'#\"'", '""']
LITERALS = [
    *("1", "-17", "0x1F", "1_000", "1.5e3", "inf", "-nan", "true", "false"),
    *("1979-05-27", "07:32:00", "1979-05-27 07:32:00Z", "1979-05-27T07:32:00.5-07:00"),
    *('""', '"a # b"', '"\\"]\\\\"', "''", "'\\'", "'[=]'"),
    *('""""""', '"""\na\n"""', '"""a"""""', '""""a"" """', '"""\\"""" # """', '"""\\\n  x"""'),
    *("''''''", "'''a'''''", "'''\n# '' \\\n'''"),
]
COMMENT = "# ' \" [ { = é"

spaces = st.sampled_from(["", " ", "\t ", "  "])
breaks = st.sampled_from(["", " ", "\n", "\r\n ", f" {COMMENT}\n\n\t"])
dotted = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).flatmap(
    lambda parts: spaces.map(lambda space: f"{space}.{space}".join(parts))
)


@st.composite
def pairs(draw, values) -> str:
    return f"{draw(dotted)}{draw(spaces)}={draw(spaces)}{draw(values)}"


@st.composite
def arrays(draw, values) -> str:
    items = [f"{draw(breaks)}{item}{draw(breaks)}" for item in draw(st.lists(values, max_size=3))]
    tail = draw(st.sampled_from(["", ","])) if items else ""
    return f"[{','.join(items)}{tail}{draw(breaks)}]"


@st.composite
def inline_tables(draw, values) -> str:
    items = [f"{draw(spaces)}{item}{draw(spaces)}" for item in draw(st.lists(pairs(values), max_size=3))]
    return "{" + (",".join(items) or draw(spaces)) + "}"


values = st.recursive(st.sampled_from(LITERALS), lambda inner: arrays(inner) | inline_tables(inner), max_leaves=5)


@st.composite
def headers(draw) -> str:
    opening, closing = draw(st.sampled_from([("[", "]"), ("[[", "]]")]))
    return f"{opening}{draw(spaces)}{draw(dotted)}{draw(spaces)}{closing}"


@st.composite
def documents(draw) -> str:
    text = ""
    for statement in draw(st.lists(headers() | pairs(values), max_size=8)):
        tail = draw(st.sampled_from(["", f" {COMMENT}"])) + draw(st.sampled_from(["\n", "\r\n", "\n\n \t\n"]))
        longer = text + draw(spaces) + statement + tail
        if is_valid(longer):
            text = longer
    return draw(st.sampled_from(["", f"{COMMENT}\n"])) + text + draw(st.sampled_from(["", COMMENT, " "]))


def is_valid(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def walk(value, path=()):
    """Every path of a parsed document with its value."""
    if path:
        yield path, value
    if isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(item, (*path, step))


def reads_as(text: str, name: str) -> bool:
    """Whether a key that means ``name`` begins the text."""
    if text.startswith(name) and name:
        return True
    ends = [end for end in range(2, len(text) + 1) if text[end - 1] == text[0]]
    return any(is_valid(f"{text[:end]}=1") and name in tomllib.loads(f"{text[:end]}=1") for end in ends)


def begins_with(text: str, value: object) -> bool:
    """Whether a literal of ``value`` begins the text."""
    literals = (f"v = {text[:end]}" for end in range(1, len(text) + 1))
    return any(repr(tomllib.loads(literal)) == repr({"v": value}) for literal in literals if is_valid(literal))


@given(documents())
def test_the_paths_are_those_of_the_document(text):
    assert set(find(text)) == {path for path, _ in walk(tomllib.loads(text))}


@pytest.mark.long
@given(documents())
def test_a_key_stands_at_its_position(text):
    for path, place in find(text).items():
        if isinstance(path[-1], str):
            assert reads_as(text[place.key :], path[-1])


@pytest.mark.long
@given(documents())
def test_a_value_stands_at_its_position(text):
    places = find(text)
    for path, value in walk(tomllib.loads(text)):
        if not isinstance(value, dict | list):
            assert begins_with(text[places[path].value :], value)


def position(text, path):
    before = text[: find(text)[path].key].split("\n")
    return len(before), len(before[-1]) + 1


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("vm",), (2, 2)),
        (("vm", "name"), (3, 3)),
        (("device",), (4, 3)),
        (("device", 0), (4, 3)),
        (("device", 1), (6, 3)),
        (("device", 1, "kind"), (7, 1)),
        (("device", 1, "options", "x", 1), (8, 18)),
    ],
)
def test_lines_and_columns_count_from_one(path, place):
    text = "\n[vm]\n  name = 1\n[[device]]\nkind = 'é'\n[[device]]\nkind = 2\noptions.x = [ 1, 2 ]\n"
    assert position(text, path) == place


def test_a_table_named_by_an_inner_one_first_has_its_own_place():
    assert position("[a.b]\n[a]\n", ("a",)) == (2, 2)


@pytest.mark.long
def test_arrays_as_deep_as_tomllib_follows_do_not_break_the_scanner():
    depth = 1000
    while not is_followed(text := "first = 1\na = " + "[" * depth + "]" * depth):
        depth -= 1
    assert ("first",) in find(text)


def is_followed(text):
    try:
        return is_valid(text)
    except RecursionError:
        return False
