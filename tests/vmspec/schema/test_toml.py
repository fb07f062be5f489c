"""TOML within bounds: texts nested too deep are rejected before they cost anything."""

import tomllib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.specs import toml_values
from vmspec.schema import toml

DEEP = 40_000


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * DEEP + " = 1",
        "[a" + " . a" * DEEP + "]",
        '["a"' + ".'a'" * DEEP + "]",
        "x = " + "[" * DEEP + "]" * DEEP,
        "x = " + "{a = " * DEEP + "1" + "}" * DEEP,
        "x = " + "{a.a.a = " * 20 + "1" + "}" * 20,
        "# \" ' [\nx = '''\n\"'''\na" + ".a" * DEEP + " = 1",
        'x = "\\""\na' + ".a" * DEEP + " = 1",
        'x = """a""b\\"""" """\na' + ".a" * DEEP + " = 1",
        "x = [\n1, # ]\n" + "[" * DEEP,
    ],
)
def test_what_is_nested_too_deep(text):
    tracemalloc.start()
    with pytest.raises((RecursionError, tomllib.TOMLDecodeError)):
        toml.loads(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * len(text)


@pytest.mark.parametrize("open_", ['"', "'", '"""', "'''", '"\\"', '"""\\'])
def test_texts_without_an_end_take_time_by_their_length(open_):
    with pytest.raises(tomllib.TOMLDecodeError):
        toml.loads(f"x = {open_}" + (open_[-1] + "\\" + "a") * 200_000)


@pytest.mark.parametrize("depth", [1, 10, 31])
def test_what_is_nested_as_deep_as_it_may_be(depth):
    for text in ("x = " + "[" * depth + "]" * depth, "a" + ".a" * depth + " = 1"):
        assert toml.loads(f"{text}\n[y]\nz = 1.5\n" * 1) == tomllib.loads(f"{text}\n[y]\nz = 1.5\n")


def test_many_dots_that_are_no_depth():
    some = f"x = 1.5\ny = [1.5, 2.5, 1979-05-27T07:32:00.5Z]\nz.a = '{'.' * 99}'\n"
    text = "".join(f"[a.b{n}]\n{some}" for n in range(99))
    assert toml.loads(text) == tomllib.loads(text)


@given(st.text() | st.dictionaries(st.text(max_size=3), toml_values, max_size=3))
def test_any_text_is_read_as_tomllib_reads_it(given_):
    import tomli_w

    text = given_ if isinstance(given_, str) else tomli_w.dumps(given_)
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(tomllib.TOMLDecodeError):
            toml.loads(text)
    else:
        assert toml.loads(text) == expected
