"""JSON values that every reader keeps exact: one rule for all commands, by a column's unit and type.

Readers such as jq store numbers as doubles, which are exact up to 2^53. So an address or a register's value (units
"address" and "hex", and unsigned 64-bit numbers without a unit, as from a SQL expression) is a string in hexadecimal,
``"0xffffffff81000000"``. Bytes are hexadecimal without a prefix. Flags are a list of their names. Times, counts and
sizes are numbers. Other whole numbers (of SQL, of a spec or a host) are numbers up to 2^53, and decimal strings beyond:
see :func:`exact`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tracer.format.schema import flag_names
from tracer.format.vocabulary import HEXADECIMAL, unit

EXACT = 1 << 53  # a double holds every whole number up to here

Convert = Callable[[Any], Any]


def records(table: Any) -> list[dict[str, Any]]:
    """The rows of a ``pyarrow.Table`` as dicts that ``json.dumps`` takes."""
    columns = [map(converter(field.type, unit(field)), table[field.name].to_pylist()) for field in table.schema]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def converter(type_: Any, unit: str = "") -> Convert:
    """The function that converts a value of an Arrow type to JSON; None stays None."""
    convert = _converter(type_, unit)
    return lambda value: None if value is None else convert(value)


def _converter(type_: Any, unit: str) -> Convert:
    import pyarrow as pa

    is_ = pa.types
    match type_:
        case _ if is_.is_dictionary(type_):
            return _converter(type_.value_type, unit)
        case _ if unit == "flags":
            return flag_names
        case _ if is_.is_integer(type_) and (unit in HEXADECIMAL or (is_.is_uint64(type_) and not unit)):
            return hex
        case _ if is_.is_floating(type_):
            return lambda value: value if -float("inf") < value < float("inf") else None  # JSON has no others
        case _ if is_.is_binary(type_) or is_.is_large_binary(type_) or is_.is_fixed_size_binary(type_):
            return bytes.hex
        case _ if is_.is_map(type_):
            key, item = converter(type_.key_type), converter(type_.item_type)
            return lambda pairs: [[key(one), item(other)] for one, other in pairs]
        case _ if is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_):
            one = converter(type_.value_type, unit)
            return lambda values: [one(value) for value in values]
        case _ if is_.is_struct(type_):
            inner = {field.name: converter(field.type) for field in type_}
            return lambda value: {name: inner[name](part) for name, part in value.items()}
        case _ if is_.is_int64(type_):
            return exact
        case _ if is_.is_boolean(type_) or is_.is_integer(type_) or is_.is_string(type_) or is_.is_null(type_):
            return lambda value: value
    return str  # dates, intervals, decimals


def exact(value: Any) -> Any:
    """A value without a schema as JSON: whole numbers beyond 2^53 are decimal strings, dates are strings."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return value if abs(value) <= EXACT else str(value)
        case float():
            return value if -float("inf") < value < float("inf") else None
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): exact(one) for key, one in value.items()}
        case list() | tuple():
            return [exact(one) for one in value]
    return str(value)
