"""Hypothesis strategies: whole valid specs, by what their models say of each key, and TOML values of any kind."""

import re
from datetime import UTC
from pathlib import Path
from typing import Any

from attrs import NOTHING
from hypothesis import strategies as st

from vmspec.devices.models import KINDS
from vmspec.schema.expected_values import ByName, Verdict
from vmspec.schema.guest_values import (
    REGISTERS,
    Ascii,
    ClassName,
    Code,
    Hexadecimal,
    Options,
    PortName,
    Registers,
    Tag,
    Windows,
)
from vmspec.schema.network_values import MAC, Forward, Interface
from vmspec.schema.pattern import LONGEST, Pattern
from vmspec.schema.tables import Kinds, Table, Tables
from vmspec.schema.value import Model, Value, keys
from vmspec.schema.values import Address, Choice, Duration, File, Flag, Integer, Many, Moment, Size, Span, Text
from vmspec.spec.matrix import MatrixTable, text
from vmspec.spec.models import Spec

WORD = (1 << 64) - 1

texts = st.text(st.characters(exclude_categories=["Cs"]))
lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
file_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)

scalars = st.one_of(
    texts,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
    st.floats(allow_nan=False),
    st.datetimes(),
    st.dates(),
    st.times(),
)
toml_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


json_values = st.recursive(
    texts | st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


def files(use: str) -> st.SearchStrategy[Path]:
    """Paths of files for one use; a file that is written has no other."""
    return st.builds(lambda name: Path("/") / use / name.lstrip("/"), file_names)


@st.composite
def spans(draw: st.DrawFn, end: int) -> tuple[int, int]:
    start = draw(st.integers(0, end - 1))
    return start, draw(st.integers(1, end - start))


def windows(space: str, most: int) -> st.SearchStrategy[dict[str, int]]:
    return st.integers(0, most.bit_length() - 1).map(lambda power: {space: 1 << power})


def of(value: Value, name: str) -> st.SearchStrategy[Any]:
    """What a model has where a spec has such a value for the key of that name."""
    match value:
        case Text(line=False):
            return texts
        case Text():
            return lines if value.empty else lines.filter(bool)
        case Pattern():
            return texts.map(re.escape).filter(lambda text: 0 < len(text) <= LONGEST)
        case Flag():
            return st.booleans()
        case Integer(power=True):
            return st.sampled_from([1 << n for n in range(64) if value.low <= 1 << n <= value.high])
        case Integer() | Address():
            return st.integers(value.low, value.high)
        case Choice():
            return st.sampled_from(value.among)
        case Ascii():
            return st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=value.most)
        case Many():
            return st.lists(of(value.one, name)).map(tuple)
        case Size():
            return st.integers(value.low // value.step, value.high // value.step).map(lambda n: n * value.step)
        case Duration():
            return st.integers(1, value.LONGEST)
        case Span():  # and Range
            return spans(value.end)
        case ByName(among=among):
            names = st.sampled_from(among) if among else texts.filter(bool)
            return st.dictionaries(names, of(value.one, name), max_size=3)
        case Verdict():
            return lines.filter(bool) | st.dictionaries(texts, json_values, max_size=3)
        case Moment():
            low, high = (moment.replace(tzinfo=None) for moment in (value.low, value.high))
            return st.datetimes(low, high, timezones=st.just(UTC))
        case File():
            return st.sampled_from(value.words) | files(name) if value.words else files(name)
        case Code():
            return st.binary(min_size=1)
        case Registers():
            return st.dictionaries(st.sampled_from(REGISTERS), st.integers(0, WORD))
        case ClassName():
            return st.builds("{}:{}".format, identifiers, identifiers)
        case Tag():
            return st.text("abz-_09äé", min_size=1, max_size=value.MOST // 2)
        case Hexadecimal():
            return st.binary(min_size=value.size, max_size=value.size).map(bytes.hex)
        case PortName():
            return st.from_regex(value.PATTERN, fullmatch=True)
        case Tables():
            unique = (lambda one: getattr(one, value.unique)) if value.unique is not None else None
            made = st.lists(valid(value.model), max_size=3, unique_by=unique)
            return made.map(tuple)
        case Windows():
            names = st.from_regex(value.NAME, fullmatch=True).filter(lambda name: name not in value.SPACES)
            return st.dictionaries(names, st.one_of(*(windows(*space) for space in value.SPACES.items())), max_size=2)
        case MatrixTable():
            values = st.lists(toml_values.filter(no_table), min_size=1, max_size=3, unique_by=text).map(tuple)
            return st.dictionaries(st.sampled_from(["vm.vcpus", "boot.kernel", "device[0].path"]), values, max_size=2)
        case Options():
            return st.dictionaries(identifiers, toml_values, max_size=3)
        case MAC():
            return st.from_regex(value.PATTERN, fullmatch=True).map(str.lower).filter(lambda mac: mac.strip("0:"))
        case Forward():
            ports = st.integers(1, 65535)
            return st.builds("{}:127.0.0.1:{}:{}".format, st.sampled_from(["tcp", "udp"]), ports, ports)
        case Interface():
            return st.from_regex(r"[a-z][a-z0-9]{0,10}(%d)?", fullmatch=True)
        case Table():
            return valid(value.model)
        case Kinds():
            return st.lists(st.one_of(*map(valid, value.kinds.values())), max_size=4).map(tuple)
        case _:
            raise AssertionError(f"no strategy for {type(value).__name__}, which {name} takes")


def no_table(value: object) -> bool:
    """Whether a TOML value is no table, and has none in it."""
    return not isinstance(value, dict) and (not isinstance(value, list) or all(map(no_table, value)))


@st.composite
def models(draw: st.DrawFn, model: type[Model]) -> Model:
    """Any instance of a model. Of the keys that exclude each other, one is given, or several that go together."""
    attributes = keys(model).values()
    chosen = draw(st.sampled_from(model.ONE_OF)) if model.ONE_OF else None
    values = {}
    for attribute in attributes:
        beside = {attribute.name, chosen} <= {*model.TOGETHER}
        if attribute.name in model.ONE_OF and attribute.name != chosen and not beside:
            continue
        if attribute.default is NOTHING or attribute.name == chosen or draw(st.booleans()):
            values[attribute.name] = draw(of(attribute.metadata["value"], attribute.name))
    return model(**values)


def valid(model: type[Model]) -> st.SearchStrategy[Any]:
    """Any instance that is right as a whole."""
    return models(model).filter(lambda made: not list(made.faults()))


devices = {model: valid(model) for model in KINDS.values()}
specs: st.SearchStrategy[Spec] = valid(Spec)
