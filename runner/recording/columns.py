"""Column buffers for C: pointers into them, valid for a call."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

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


Struct = TypeVar(
    "Struct", bound="_native.ExitsColumnsPointer | _native.TracepointsColumnsPointer | _native.RequestsColumnsPointer"
)


class Columns(Generic[Struct]):
    """The columns of a table that C fills: a new C struct of pointers to them."""

    def __init__(self, columns: Struct) -> None:
        self._c = columns
        self._types = {name: field.type for name, field in ffi.typeof(columns).item.fields}

    @contextmanager
    def of(self, buffers: Buffers) -> Iterator[Struct]:
        """The C struct over buffers, which must not move meanwhile."""
        targets = dict(buffers.columns)
        if "bytes" in self._types:
            targets["bytes"] = buffers.payload
            self._set("bytes_capacity", buffers.payload_capacity)
        self._set("rows", buffers.rows)
        views = [ffi.from_buffer(buffer) for buffer in targets.values()]
        try:
            for name, view in zip(targets, views, strict=True):
                self._set(name, ffi.cast(self._types[name], view))
            yield self._c
        finally:
            for view in views:
                ffi.release(view)

    def _set(self, field: str, value: "_native.CData | int") -> None:
        setattr(self._c, field, value)
