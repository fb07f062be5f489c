"""Plans as JSON: written and read back equal.

A part of the plan is an object with the part's fields. Paths are texts as in :mod:`vmspec.host.pathtext`, machine code
is hexadecimal, and registers are hexadecimal strings, because readers of JSON hold numbers as doubles. A value in a
device's options or in the spec's table that JSON lacks is an object with one key: ``{"$path": "/a"}``, ``{"$datetime":
"2026-01-01T00:00:00+00:00"}``, ``$date``, ``$time``, ``{"$float": "inf"}``. A table with a key that begins with a
dollar sign is ``{"$table": {...}}``.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from vmspec.host.pathtext import from_text, to_text
from vmspec.plan.calls import Call, Ioctl
from vmspec.plan.plan import Plan
from vmspec.schema.keypath import KeyPath, join
from vmspec.schema.problems import Problem, SpecError

__all__ = ["dumps", "load", "loads"]

FORMAT = 1  # incremented when an older plan would be misunderstood
LARGEST = 64 << 20  # bytes: a plan of 254 vCPUs has some 200 KiB
IOCTLS: dict[str, Any] = {call.ioctl: call for call in get_args(Call)}
FIXED = ("ioctl", "requires", "optional")  # the class variables of a call


class _WrongError(Exception):
    """A value is not of its type; the path to it is completed on the way out, the innermost step first."""

    def __init__(self, message: str, value: object = None, *steps: str | int) -> None:
        self.problem = Problem("", message, None if value is None else _shown(value))
        self.steps: list[str | int] = [*steps]


Reader = Callable[[Any], Any]
Record = TypeVar("Record", bound=tuple[Any, ...])


def dumps(plan: Plan) -> str:
    """The plan as JSON text."""
    import json

    return json.dumps(tree(plan), indent=2, allow_nan=False)


def loads(text: str, file: Path | str | None = None) -> Plan:
    """The plan of a JSON text; ``file`` is named in problems. Raises SpecError."""
    import json

    try:
        return from_tree(json.loads(text, parse_constant=_no_constant), file)
    except json.JSONDecodeError as error:
        problem = Problem("", f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}")
        raise SpecError((problem.at(file, error.lineno, error.colno),)) from None
    except RecursionError:
        raise SpecError((Problem("", "is nested too deep").at(file, 1, 1),)) from None
    except ValueError as error:  # a number that no plan has
        raise SpecError((Problem("", f"is not JSON: {error}").at(file, 1, 1),)) from None


def load(path: str | Path) -> Plan:
    """The plan of a JSON file. Raises SpecError."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise SpecError((Problem("", f"is too large for a plan, more than {LARGEST} bytes", file=path),))
        return loads(data.decode(), path)
    except UnicodeDecodeError:
        raise SpecError((Problem("", "is not UTF-8 text", file=path),)) from None
    except OSError as error:
        raise SpecError((Problem("", f"cannot be read: {error.strerror}", file=path),)) from None
    except ValueError as error:  # a name that no file can have
        raise SpecError((Problem("", f"cannot be read: {error}", file=path),)) from None


def tree(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, in dicts and lists."""
    return {"format": FORMAT, **written(plan)}


def from_tree(value: Any, file: Path | str | None = None) -> Plan:
    """The plan from JSON values. Raises SpecError."""
    with _located(file):
        if not isinstance(value, dict):
            raise _WrongError("is not a plan", value)
        if value.get("format") != FORMAT:
            raise _WrongError("is not a plan that this release of vmspec wrote", value.get("format"), "format")
        plan: Plan = _record(Plan)({name: part for name, part in value.items() if name != "format"})
    return plan


def written(record: tuple[Any, ...]) -> dict[str, Any]:
    """Any named tuple whose fields are of kinds that a plan's may be, as JSON values."""
    return _fields(record)


def read(cls: type[Record], value: Any, file: Path | str | None = None) -> Record:
    """Such a named tuple from JSON values. Raises SpecError."""
    with _located(file):
        record: Record = _record(cls)(value)
    return record


@contextmanager
def _located(file: Path | str | None) -> Iterator[None]:
    """Raise what is wrong in a file as SpecError."""
    try:
        yield
    except _WrongError as error:
        path: KeyPath = tuple(reversed(error.steps))
        raise SpecError((error.problem._replace(path=join(path), file=file),)) from None


def _written(value: Any) -> Any:
    match value:
        case Ioctl():
            return {name: getattr(value, name) for name in FIXED} | _fields(value)
        case tuple() if hasattr(value, "_fields"):
            return _fields(value)
        case tuple():
            return [_written(part) for part in value]
        case Path():
            return to_text(value)
        case bytes():
            return value.hex(" ")
        case _:
            return value


def _fields(value: Any) -> dict[str, Any]:
    cls: Any = type(value)
    kinds = _kinds(cls)
    fields = {}
    for name in value._fields:
        part = getattr(value, name)
        if kinds[name] == dict[str, int]:
            fields[name] = {key: hex(number) for key, number in part.items()}
        elif isinstance(part, Mapping):
            fields[name] = _free_table(part)
        else:
            fields[name] = _written(part)
    return fields


def _free(value: Any) -> Any:
    """Encode a value of any type that a spec may have; :func:`_read_free` returns an equal one."""
    from datetime import date, datetime, time

    match value:
        case Mapping():
            table = _free_table(value)
            return {"$table": table} if _is_tagged(table) else table
        case list():
            return [_free(part) for part in value]
        case Path():
            return {"$path": to_text(value)}
        case datetime():
            return {"$datetime": value.isoformat()}
        case date():
            return {"$date": value.isoformat()}
        case time():
            return {"$time": value.isoformat()}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case _:
            return value


def _free_table(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _free(part) for name, part in table.items()}


def _read_free(value: Any) -> Any:
    match value:
        case dict() if _is_tagged(value):
            return _tagged(value)
        case dict():
            return _each(_read_free, value)
        case list():
            return [_step(_read_free, part, at) for at, part in enumerate(value)]
        case _:
            return value


def _is_tagged(table: dict[str, Any]) -> bool:
    return any(name.startswith("$") for name in table)


def _tagged(value: dict[str, Any]) -> Any:
    from datetime import date, datetime, time

    (tag, held), *more = value.items()
    reads: dict[str, Reader] = {
        "$path": from_text,
        "$datetime": datetime.fromisoformat,
        "$date": date.fromisoformat,
        "$time": time.fromisoformat,
        "$float": float,
    }
    if more:
        raise _WrongError(f"is beside {tag}, which must be alone", None, more[0][0])
    if tag == "$table" and isinstance(held, dict):
        return _step(lambda table: _each(_read_free, table), held, tag)
    if tag not in reads or not isinstance(held, str):
        raise _WrongError("is not a value of a plan", held, tag)
    try:
        return reads[tag](held)
    except ValueError as error:
        raise _WrongError(f"is not a value of a plan: {error}", held, tag) from None


@cache
def _reader(kind: Any) -> Reader:
    """The function that reads a field with that annotation."""
    if kind is Call or kind == Call:
        return _call
    if isinstance(kind, UnionType):
        return _either(get_args(kind))
    match get_origin(kind), get_args(kind):
        case origin, (one, _) if origin is tuple:
            return _several(_reader(one))
        case origin, _ if origin is dict:
            return lambda value: _each(_register, _table(value))
        case origin, _ if origin is not None:
            return lambda value: _each(_read_free, _table(value))
    scalar: dict[Any, Reader] = {int: _integer, str: _text, bool: _flag, Path: _path, bytes: _bytes}
    return scalar.get(kind) or _record(kind)


@cache
def _record(cls: Any) -> Reader:
    """The function that reads a named tuple."""
    kinds = _kinds(cls)
    readers = {name: _reader(kinds[name]) for name in cls._fields}

    def read(value: Any) -> Any:
        table = _table(value)
        if table.keys() != readers.keys():
            for name in readers:
                if name not in table:
                    raise _WrongError("is missing", None, name)
            raise _WrongError("unknown key", None, next(name for name in table if name not in readers))
        return cls(*[_step(reader, table[name], name) for name, reader in readers.items()])

    return read


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    """The annotations of a named tuple's fields; a call has its shape's."""
    return {
        name: kind for base in reversed(cls.__mro__) for name, kind in vars(base).get("__annotations__", {}).items()
    }


def _call(value: Any) -> Any:
    table = _table(value)
    cls = IOCTLS.get(_step(_text, table.get("ioctl"), "ioctl"))
    if cls is None:
        raise _WrongError("is not a call of a plan", table["ioctl"], "ioctl")
    for name in FIXED:
        if name not in table:
            raise _WrongError("is missing", None, name)
        if table[name] != getattr(cls, name):
            raise _WrongError(f"is not the value of {cls.ioctl}", table[name], name)
    return _record(cls)({name: part for name, part in table.items() if name not in FIXED})


def _either(kinds: tuple[Any, ...]) -> Reader:
    """The function that reads a union of scalars, or of something and None, by the value's type."""
    readers = {bool: _flag, str: _text}
    readers = {kind: readers[kind] for kind in kinds if kind in readers}
    rest = [_reader(kind) for kind in kinds if kind not in readers and kind is not type(None)]
    optional = type(None) in kinds

    def read(value: Any) -> Any:
        if value is None and optional:
            return None
        if type(value) in readers or not rest:
            return readers.get(type(value), _text)(value)
        return rest[0](value)

    return read


def _several(one: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _WrongError("must be an array", value)
        return tuple([_step(one, part, at) for at, part in enumerate(value)])

    return read


def _each(one: Reader, table: dict[str, Any]) -> dict[str, Any]:
    return {name: _step(one, part, name) for name, part in table.items()}


def _step(read: Reader, value: Any, step: str | int) -> Any:
    try:
        return read(value)
    except _WrongError as error:
        error.steps.append(step)
        raise


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongError("must be an object", value)
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 64:
        raise _WrongError("must be a whole number of 64 bits", value)
    return value


def _register(value: Any) -> int:
    try:
        number = int(_text(value), 16)
    except ValueError:
        raise _WrongError("must be a hexadecimal string", value) from None
    return _integer(number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongError("must be a string", value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongError("must be true or false", value)
    return value


def _path(value: Any) -> Path:
    if value == "":
        raise _WrongError("is empty")
    try:
        return from_text(_text(value))
    except ValueError as error:
        raise _WrongError(str(error), value) from None


def _bytes(value: Any) -> bytes:
    try:
        return bytes.fromhex(_text(value))
    except ValueError:
        raise _WrongError("must be hexadecimal", value) from None


def _shown(value: object) -> str:
    from vmspec.schema.value import show

    return show(value)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
