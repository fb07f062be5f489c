"""Any spec is read, or rejected with problems that have a place."""

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.specs import specs, toml_values
from vmspec.document import Document
from vmspec.schema.problems import Problem, SpecError
from vmspec.show.dump import dumps

KNOWN = ["vm", "boot", "device", "kind", "memory", "code", "kernel", "port", "options", "com", "class", "time", "exit"]
FRAGMENTS = ["[", "]", "[[", "{", "}", "=", '"', "'", '"""', "#", "\n", "\\", ",", ".", "\0", "é", "-1", "nan", "1e999"]
FRAGMENTS += ["[vm]", "[[device]]", "kind = 'serial'", "0x" + "f" * 20, "1979-05-27", "9" * 5000, "\ufeff", "\r"]

keys = st.sampled_from(KNOWN) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def places(value, path=()):
    """The path of every key and element."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield (*path, step)
        yield from places(item, (*path, step))


@st.composite
def mutated_tables(draw) -> str:
    """A valid spec with some keys and values changed, as TOML."""
    data = tomllib.loads(dumps(draw(specs)))
    for _ in range(draw(st.integers(1, 4))):
        paths = list(places(data))
        if not paths:
            break
        *outer, step = draw(st.sampled_from(paths))
        holder = data
        for name in outer:
            holder = holder[name]
        match draw(st.sampled_from(["delete", "rename", "replace", "add", "wrap", "unwrap", "repeat"])):
            case "delete":
                del holder[step]
            case "rename" if isinstance(holder, dict):
                holder[draw(keys)] = holder.pop(step)
            case "add" if isinstance(holder, dict):
                holder[draw(keys)] = draw(toml_values)
            case "wrap":
                holder[step] = [holder[step]] if draw(st.booleans()) else {draw(keys): holder[step]}
            case "unwrap" if isinstance(holder[step], list) and holder[step]:
                holder[step] = holder[step][0]
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[step]))
            case _:
                holder[step] = draw(toml_values)
    return tomli_w.dumps(data)


@st.composite
def mutated_texts(draw) -> str:
    """The text of a valid spec with pieces cut out and put in."""
    text = dumps(draw(specs))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 10, len(text))))
        text = text[:start] + draw(st.sampled_from([*FRAGMENTS, ""]) | st.text(max_size=3)) + text[end:]
    return text


def refusal(work: Callable[[], object]) -> tuple[Problem, ...] | None:
    """The problems that the work ends with, or None where it succeeds. Any other error is a failure of the test."""
    try:
        work()
    except SpecError as error:
        return error.problems
    return None


def check(text: str, *overrides: str) -> None:
    """The text gives a plan or located problems, and nothing else."""
    file = Path("/specs/x.toml")
    problems = refusal(lambda: Document(text, file.parent, overrides, file).plan())
    assert problems != ()
    lines = text.split("\n")
    for problem in problems or ():
        assert problem.message
        if problem.file == file:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        else:
            assert str(problem.file).startswith("--set ")


@pytest.mark.long
@given(mutated_tables())
def test_changed_keys_and_values(text):
    check(text)


@pytest.mark.long
@given(mutated_texts())
def test_changed_text(text):
    check(text)


@pytest.mark.long
@given(specs, keys, st.one_of(keys, toml_values.map(lambda value: tomli_w.dumps({"v": value})[4:])))
def test_any_override(spec, key, value):
    check(dumps(spec), f"{key}={value}", f"vm.{key}={value}", f"device[0].{key}={value}")


@given(data=st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(data)
    problems = refusal(lambda: Document.open(path).spec())
    assert problems
    assert all(problem.file == path and problem.line for problem in problems)
