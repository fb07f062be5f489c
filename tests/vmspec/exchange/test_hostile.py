"""Whatever a configuration holds, a reader makes a spec that is TOML, or raises SpecError."""

import tomllib
from contextlib import suppress
from importlib import import_module
from textwrap import dedent

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vmspec.exchange.cases import CASES
from vmspec.exchange import READERS, commented
from vmspec.exchange.importing import check
from vmspec.exchange.shell import arguments
from vmspec.schema.problems import SpecError


def made(tool: str, text: str) -> None:
    try:
        draft = import_module(READERS[tool]).of_text(text, None)
        written = commented.text(draft)
        table = commented.table(draft)
        check(draft)
    except SpecError:
        return
    assert tomllib.loads(written) == table


@st.composite
def mutated(draw: st.DrawFn, tool: str) -> str:
    """One of the configurations, with parts removed, repeated, exchanged or replaced."""
    text = dedent(draw(st.sampled_from(CASES[tool])).text)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 20)))
        pieces = ["", text[start:end] * 2, "0", "-1", "none", "9" * 20, "é", *",='\"$\0<[{]}"]
        inserted = draw(st.sampled_from(pieces) | st.text(max_size=4))
        text = text[:start] + inserted + text[end:]
    return text


@pytest.mark.parametrize("tool", READERS)
@settings(max_examples=40)
@given(data=st.data())
def test_changed_configurations(tool, data):
    made(tool, data.draw(mutated(tool)))


@pytest.mark.parametrize("tool", READERS)
@settings(max_examples=20)
@example("")
@example("'")
@example('"')
@example("\n\n")
@given(st.text())
def test_any_text(tool, text):
    made(tool, text)


@pytest.mark.parametrize("tool", [tool for tool in READERS if hasattr(import_module(READERS[tool]), "of_words")])
@settings(max_examples=20)
@given(
    st.lists(
        st.sampled_from(["-device", "-m", "-drive", "-netdev", "--disk", "-", "--", "run", ""]) | st.text(), max_size=6
    )
)
def test_any_words(tool, words):
    with suppress(SpecError):
        check(import_module(READERS[tool]).of_words(arguments(words)))
