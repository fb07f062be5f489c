"""Fields of result tables: a name, a type, and as metadata the unit and what it holds."""

from typing import Any


def field(name: str, type_: Any, doc: str, unit: str = "") -> Any:
    """A ``pyarrow.Field``; ``unit`` is "ns", "bytes", "address", "share" or nothing."""
    import pyarrow as pa

    return pa.field(name, type_, metadata={"unit": unit, "doc": doc})
