"""The matrix of a spec: keys that have several values each. Each combination of values is a machine of its own."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from vmspec.schema.keypath import KeyPath, join, split
from vmspec.schema.overrides import parse
from vmspec.schema.value import Here, Schema, Value

MATRIX, TEST = "matrix", "test"
MOST = 10_000  # combinations of a spec: a longer product is a mistake

Axes = dict[str, tuple[Any, ...]]  # the values of each key


class MatrixTable(Value):
    """A table whose keys are keys of the spec, each with an array of values. ``boot.kernel``, ``"boot.kernel"`` and
    ``kernel`` in ``[matrix.boot]`` are the same key."""

    allowed = 'arrays of values by key, as in "vm.vcpus" = [1, 2]'

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, f"[{MATRIX}]: {self.allowed}")
        axes: Axes = {}
        combinations = 1
        for path, values, place in self._axes(value, here, ()):
            key = join(path)
            if path[0] in (MATRIX, TEST):
                place.wrong(f"cannot vary: {path[0]} is for vmrun test and not a part of the machine")
            elif any(isinstance(step, str) and "=" in step for step in path):
                place.wrong("cannot vary: its name has an equals sign")
            elif key in axes:
                place.wrong(f"{key} is given twice")
            elif self._are_values(values, place):
                axes[key] = tuple(values)
                combinations *= len(values)
        if combinations > MOST:
            here.wrong(f"has {combinations:,} combinations", None, f"up to {MOST:,}")
        return axes

    def _axes(self, table: dict[str, Any], here: Here, above: KeyPath) -> Iterator[tuple[KeyPath, Any, Here]]:
        for name, value in table.items():
            try:
                path = (*above, *split(name))
            except ValueError as error:
                here.at(name).wrong(str(error))
                continue
            if not path:
                here.at(name).wrong("is not a key of a spec")
            elif isinstance(value, dict):
                yield from self._axes(value, here.at(name), path)
            else:
                yield path, value, here.at(name)

    def _are_values(self, values: object, here: Here) -> bool:
        before = len(here.problems)
        if not isinstance(values, list) or not values:
            here.wrong("must be an array of at least one value", values, self.allowed)
            return False
        for index, value in enumerate(values):
            if _has_table(value):
                here.at(index).wrong(
                    "must not be a table", None, "a string, a number, true, false, a date, or an array"
                )
            elif text(value) in map(text, values[:index]):
                here.at(index).wrong("is given twice", value)
        return len(here.problems) == before

    def write(self, value: Any) -> Any:
        return {key: list(values) for key, values in value.items()}

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": {"type": ["array", "object"], "minItems": 1}}


def combinations(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, ...]]:
    """Each combination as overrides, ``("vm.vcpus=2", "boot.kernel=vmlinuz")``; the last key's value changes first.
    Without axes there is one, of no overrides."""
    for values in product(*axes.values()):
        yield tuple(f"{key}={text(value)}" for key, value in zip(axes, values, strict=True))


def text(value: Any) -> str:
    """A value as ``--set`` takes it: strings without quotes where they need none."""
    match value:
        case str() if parse(f"key={value}")[1] == value:
            return value
        case list():
            return f"[{', '.join(map(_toml, value))}]"
    return _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return text(value)
    import tomli_w  # only matrices need it

    return tomli_w.dumps({"key": value}).removeprefix("key = ").rstrip("\n")


def _has_table(value: object) -> bool:
    match value:
        case dict():
            return True
        case list():
            return any(map(_has_table, value))
    return False
