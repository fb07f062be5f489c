"""Writes Arrow files and streams with a seal on each batch (see :mod:`tracer.format.messages`)."""

import errno
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from tracer.format.messages import BLANK_SEAL, CONTINUATION, DamageError, extent, next_message, seal
from tracer.format.outfile import OutFile
from vmspec.trace import keys


class Out(Protocol):
    """The sink: it writes all bytes at once, or raises."""

    def write(self, data: bytes | bytearray, /) -> Any:
        """Write all the bytes."""


class SealedWriter:
    """Writes batches of ``schema`` to ``out`` with ``new``: ``pyarrow.ipc.new_file`` or ``new_stream``. A context
    manager that ends the file or stream if the block ends well. ``out`` gets each batch in one piece."""

    def __init__(self, out: Out, schema: Any, new: Any, options: Any = None) -> None:
        self.written = 0  # bytes
        self._out = out
        self._held = _Held()
        self._writer = new(self._held, schema, options=options)

    def write(self, batch: Any, custom: Mapping[str, str] | None = None) -> None:
        """Write a batch, with custom metadata."""
        self._writer.write_batch(batch, custom_metadata={**(custom or {}), keys.SEAL: BLANK_SEAL})
        try:
            self._put(_sealed(self._held.take()))
        except DamageError as error:
            raise OSError(errno.EFBIG, f"it exceeds what readers accept: {error}") from error

    def close(self) -> None:
        """End the file or stream."""
        self._writer.close()
        self._put(self._held.take())

    def __enter__(self) -> "SealedWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()

    def _put(self, data: bytearray) -> None:
        self._out.write(data)
        self.written += len(data)


class _Held(OutFile):
    """A file in memory that counts all bytes written to it, also those that were taken out."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._taken = 0

    def write(self, data: Any) -> int:
        """Append bytes."""
        self._data += data
        return len(data)

    def take(self) -> bytearray:
        """Take out the bytes written since the last call."""
        data, self._data = self._data, bytearray()
        self._taken += len(data)
        return data

    def tell(self) -> int:
        """Bytes written in all."""
        return self._taken + len(self._data)


def _sealed(data: bytearray) -> bytearray:
    """Messages, the last of them a batch, with its seal filled in. Only that one is checked."""
    view = memoryview(data)
    at = first = max(data.find(CONTINUATION, 0, 16), 0)  # after a file's magic
    while (after := at + extent(view, at)) < len(data):
        at = after
    batch = next_message(lambda at, size: bytes(view[at : at + size]), at, len(data))
    value = batch.custom[keys.SEAL.encode()]
    view[at + value.start : at + value.stop] = seal(view[at:], value, zlib.crc32(view[first:at]))
    view.release()
    return data
