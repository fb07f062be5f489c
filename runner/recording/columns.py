"""Column buffers for C: pointers into them, valid for a call."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from runner.native import _native

ffi = _native.ffi


class Buffers(Protocol):
    """The recorder's column buffers: writable, ``rows`` long, by column name. A column of bytes is offsets into
    ``payload``."""

    @property
    def rows(self) -> int: ...
    @property
    def payload_capacity(self) -> int: ...
    @property
    def columns(self) -> Mapping[str, bytearray]: ...
    @property
    def payload(self) -> bytearray: ...


class Columns:
    """The columns of a table that C fills, by the table's name."""

    def __init__(self, table: str) -> None:
        self._c = ffi.new(f"struct {table}_columns *")
        self._pointers = {name: field.type for name, field in ffi.typeof(f"struct {table}_columns").fields}

    @contextmanager
    def of(self, buffers: Buffers) -> Iterator[Any]:
        """The C struct over buffers, which must not move meanwhile."""
        targets = dict(buffers.columns)
        if "bytes" in self._pointers:
            targets["bytes"] = buffers.payload
            self._c.bytes_capacity = buffers.payload_capacity
        self._c.rows = buffers.rows
        views = [ffi.from_buffer(buffer) for buffer in targets.values()]
        try:
            for name, view in zip(targets, views, strict=True):
                setattr(self._c, name, ffi.cast(self._pointers[name], view))
            yield self._c
        finally:
            for view in views:
                ffi.release(view)
