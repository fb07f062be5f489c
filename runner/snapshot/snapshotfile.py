"""The file of a snapshot: a head, the guest's memory in whole pages, then the contents as JSON.

The head is :data:`MAGIC`, the format's number, then CRC-32, place and length of the contents. Numbers are
little-endian. Memory that is zero is not in the file. The contents name each part of it that is there, with its CRC-32.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

from isal import isal_zlib

from runner.snapshot.contents import Contents, Extent
from runner.snapshot.errors import SnapshotError
from vmspec.plan import serial
from vmspec.schema.problems import SpecError

MAGIC = b"vmrun snapshot\r\n"
FORMAT = 2  # incremented when an older vmrun would misunderstand it
HEAD = Struct("<16s2I2Q")  # MAGIC, FORMAT, then CRC-32, place and length of the contents
LARGEST = 256 << 20  # bytes of contents: disks that the guest has written to all over have the most
PAGE = 4096
CHUNK = 2 << 20  # bytes of memory that are in a file without a base or not: one huge page
LONGEST = 16 << 20  # bytes of a part: several are checked at once
PIECE = 1 << 16  # bytes that are a hole of the file if they are zero
ZEROS = bytes(CHUNK)
CHECKED = 256 << 10  # bytes that are read and checked at once: a processor's own cache has room for them


class Piece(NamedTuple):
    """A part of something that is copied into a snapshot."""

    address: int
    data: bytes


class Snapshot:
    """An open snapshot, whose contents are checked; ``crc32`` is theirs. Raises SnapshotError."""

    crc32: int

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            self.size = _size(self.descriptor, path)
            self.contents = self._read()
        except OSError as error:
            self.close()
            raise self._unreadable(error) from error
        except BaseException:
            self.close()
            raise

    def _read(self) -> Contents:
        head = os.pread(self.descriptor, HEAD.size, 0)
        if not head.startswith(MAGIC[: len(head)]) or not head:
            raise SnapshotError(f"{self.path} is not a snapshot of vmrun: vmrun snapshot NAME FILE writes one")
        if len(head) < HEAD.size:
            raise self.damaged("it is cut off")
        _, number, crc32, at, length = HEAD.unpack(head)
        if number != FORMAT:
            newer = "a newer" if number > FORMAT else "an older"
            raise SnapshotError(
                f"{self.path} is a snapshot of {newer} vmrun, of format {number}: this one reads {FORMAT}"
            )
        if length > LARGEST:
            raise self.damaged(f"its contents have {length:,} bytes")
        text = os.pread(self.descriptor, length, at) if at < self.size else b""
        if len(text) < length:
            raise self.damaged("it is cut off")
        if isal_zlib.crc32(text) != crc32:
            raise self.damaged("the CRC-32 of its contents is wrong")
        try:
            contents = serial.read(Contents, json.loads(text), self.path)
        except SpecError as error:
            raise self.damaged(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"its contents are no JSON: {error}") from error
        if (problem := contents.problem()) is not None:
            raise self.damaged(problem)
        names = [each.device for each in contents.written]
        if len(names) > len(set(names)):
            raise self.damaged("it has the contents of a device twice")
        if any(extent.address % PAGE for extent in contents.memory):
            raise self.damaged("a part of the memory does not begin with a page")
        for extents in (contents.memory, *(each.extents for each in contents.written)):
            end = 0
            for extent in extents:
                if extent.offset % PAGE or extent.size <= 0 or not 0 <= extent.offset <= self.size - extent.size:
                    raise self.damaged("it is cut off: a part is past its end")
                if extent.address < end:
                    raise self.damaged(f"the part for {extent.address:#x} is not after that before it")
                end = extent.address + extent.size
        self.crc32 = crc32
        return contents

    def check(self, extent: Extent) -> None:
        """Whether the bytes of a part are those that were written. Raises SnapshotError."""
        crc32, room = 0, memoryview(bytearray(min(CHECKED, extent.size)))
        for done in range(0, extent.size, CHECKED):
            part = room[: extent.size - done]
            self.read(extent, extent.address + done, part)
            crc32 = isal_zlib.crc32(part, crc32)
        if crc32 != extent.crc32:
            raise self.damaged(f"the CRC-32 of the part for {extent.address:#x} is wrong")

    def pieces(self, extent: Extent) -> Iterator[Piece]:
        """The bytes of a part. Raises SnapshotError."""
        for done in range(0, extent.size, CHUNK):
            data = bytearray(min(CHUNK, extent.size - done))
            self.read(extent, extent.address + done, memoryview(data))
            yield Piece(extent.address + done, bytes(data))

    def read(self, extent: Extent, address: int, into: memoryview) -> None:
        """Read the bytes of a part from an address on, as many as there is room for. Raises SnapshotError."""
        done = 0
        while done < len(into):
            with into[done:] as rest:
                count = self._pread(rest, extent.offset + address - extent.address + done)
            if not count:
                raise self.damaged("it has become shorter")
            done += count

    def _pread(self, into: memoryview, at: int) -> int:
        try:
            return os.preadv(self.descriptor, [into], at)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> SnapshotError:
        return SnapshotError(f"{self.path} cannot be read: {error.strerror}")

    def damaged(self, why: str) -> SnapshotError:
        """The error that says why this file is no snapshot."""
        return SnapshotError(f"{self.path} is damaged: {why}")

    def close(self) -> None:
        """Close the file; memory that is mapped from it stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def _size(descriptor: int, path: Path) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise SnapshotError(f"{path} is not a snapshot of vmrun: it is no file")
    return status.st_size


class Writer:
    """Writes a snapshot into an empty file: parts first, then :meth:`finish`. ``goes_on`` is called before each part,
    and may raise to give up."""

    def __init__(self, file: BinaryIO, goes_on: Callable[[], None]) -> None:
        self._file, self._goes_on = file, goes_on
        self._end = PAGE  # of the parts
        self.bytes = 0  # of the parts

    def put(self, pieces: Iterable[Piece]) -> tuple[Extent, ...]:
        """Write parts, each from a page's start on; those that follow each other are one, up to :data:`LONGEST`."""
        extents: list[Extent] = []
        for address, data in pieces:
            self._goes_on()
            self._write(data)
            size, crc32 = len(data), isal_zlib.crc32(data)
            self.bytes += size
            last = extents[-1] if extents else None
            follows = last is not None and (last.address + last.size, last.offset + last.size) == (address, self._end)
            if last is not None and follows and last.size + size <= LONGEST:
                extents[-1] = last._replace(size=last.size + size, crc32=isal_zlib.crc32(data, last.crc32))
            else:
                extents.append(Extent(address, size, self._end, crc32))
            self._end += -(-size // PAGE) * PAGE
        return tuple(extents)

    def _write(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            if piece != ZEROS[: len(piece)]:
                self._file.seek(self._end + at)
                self._file.write(piece)

    def finish(self, contents: Contents) -> None:
        """Write the contents. Raises SnapshotError if there are too many."""
        self._goes_on()
        text = json.dumps(serial.written(contents), allow_nan=False, separators=(",", ":")).encode()
        if len(text) > LARGEST:
            raise SnapshotError("it would have too many parts: what the guest wrote lies scattered")
        self._file.seek(self._end)
        self._file.write(text)
        self._file.seek(0)
        self._file.write(HEAD.pack(MAGIC, FORMAT, isal_zlib.crc32(text), self._end, len(text)))
