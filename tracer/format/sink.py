"""The output of a command: a file that appears whole or not at all, or standard output."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tracer.format.errors import TraceError
from tracer.format.outfile import OutFile
from vmspec.host.atomic import replaced


@contextmanager
def sink(path: Path) -> Iterator[BinaryIO]:
    """A binary stream for a file that becomes ``path`` when the block ends well and is removed when it does not; a link
    is followed. The path "-" is standard output. A pipe or a device is written directly. Raises TraceError if it cannot
    be written, for example when the disk is full."""
    if str(path) == "-":
        if sys.stdout.isatty():
            raise TraceError("standard output is a terminal: give a file with -o, or redirect")
        yield cast(BinaryIO, _Counting(sys.stdout.buffer))
        sys.stdout.buffer.flush()
        return
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as out:
                yield cast(BinaryIO, _Counting(out))
        else:
            with replaced(path) as out:
                yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror or error}") from error


class _Counting(OutFile):
    """Knows its position even for a pipe: writers of Parquet need it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._at = out, 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data)
        self._out.write(view)
        self._at += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._out.flush()
