"""Messages of an Arrow file or stream: where each begins and ends, and what it declares.

This module decides for every reader whether a file is whole, damaged or cut off (Arrow columnar format, "Serialization
and Interprocess Communication"). Cut off means that only the end of the last message is missing: a run was killed while
it wrote. Everything else is damage. The bytes and rows that a message declares are bounded here, before anything is
allocated for it.

vmrun's writers seal each batch: its custom metadata has the CRC-32 of all bytes since the batch before it. The first
batch's covers the schema and the dictionaries.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from tracer.format.flatbuffer import Flatbuffer, OutsideError, Table
from vmspec.trace import keys

CONTINUATION = b"\xff\xff\xff\xff"  # before each message
PREFIX = 8  # bytes of the continuation and the size of the metadata
KINDS = {1: "schema", 2: "dictionary", 3: "batch"}

METADATA_MAX = 16 << 20  # bytes of a message's metadata: spec, devices, host, the kernel's formats
BODY_MAX = 64 << 20  # bytes of a batch, compressed and decompressed; vmrun writes some 20 MiB at most
NAMES_MAX = 1 << 15  # of a dictionary: the codes are int16
NAMES_BYTES_MAX = 16 << 20
FOOTER_MAX = 64 << 20
RATIO_MAX = 1024  # decompressed bytes per compressed one, past the first MiB; equal bytes reach some hundreds
PARTS_MAX = 256  # nodes and buffers of a batch; a trace's has 14 and 29

BODY = 3  # the field of a message's metadata with the size of its body
BLANK_SEAL = "0" * 8  # placeholder while the CRC-32 is computed


class DamageError(Exception):
    """A file is damaged; the message says at which byte and how."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"at byte {offset:,}: {what}")


class CutError(Exception):
    """A file ends within a message that is valid up to there."""


class Message(NamedTuple):
    """One message. ``offset`` is in the file. ``size`` is all of its bytes, with the ``body``'s, which are the last.
    ``rows`` are the declared rows, ``buffers`` offset and size of each in the body, ``custom`` the places of the values
    of its custom metadata in the message. The end of a stream is a message too."""

    kind: str
    offset: int
    size: int
    body: int = 0
    rows: int = 0
    buffers: tuple[tuple[int, int], ...] = ()
    packed: bool = False
    custom: dict[bytes, slice] = {}  # noqa: RUF012 - never changed


def next_message(read: Callable[[int, int], bytes], offset: int, end: int) -> Message:
    """The message at ``offset`` of a file that ends at ``end``; ``read`` returns bytes at an offset.

    Raises CutError if the file ends before the message does (also with nothing of it there), DamageError if it is
    invalid.
    """
    prefix = read(offset, min(PREFIX, end - offset))
    if not prefix.startswith(CONTINUATION[: len(prefix)]):
        raise DamageError(offset, "no message begins here")
    if len(prefix) < PREFIX:
        raise CutError
    (size,) = struct.unpack("<i", prefix[4:])
    if size == 0:
        return Message("end", offset, PREFIX)
    if not 0 < size <= METADATA_MAX or size % 8:
        raise DamageError(offset, f"a message's metadata cannot have {size:,} bytes")
    there = min(size, end - offset - PREFIX)
    flat = Flatbuffer(read(offset + PREFIX, there))
    try:
        message = _declared(flat, offset, size)
    except OutsideError:
        if there < size:
            raise CutError from None
        raise DamageError(offset, "a message's metadata is damaged") from None
    # In a message that is cut off, each size must be the one that its parts imply.
    if there < size:
        if message.kind != "schema" and size - _padded(flat.reach) >= 8:  # a schema is not read completely here
            raise DamageError(offset, "a message's metadata is damaged, or its size")
        raise CutError
    if offset + message.size > end:
        extent = max((start + length for start, length in message.buffers), default=0)
        if message.body != _padded(extent):
            raise DamageError(offset, "a message's body is damaged, or its size")
        raise CutError
    return message


def extent(written: memoryview, at: int) -> int:
    """The size in bytes of the message at ``at`` that Arrow has just written, whole. Raises DamageError if readers
    accept no metadata of its size; nothing else is checked."""
    size: int
    body: int
    (size,) = struct.unpack_from("<i", written, at + 4)
    if size > METADATA_MAX:
        raise DamageError(at, f"a message's metadata cannot have {size:,} bytes")
    root = at + PREFIX + int(struct.unpack_from("<I", written, at + PREFIX)[0])
    fields = root - int(struct.unpack_from("<i", written, root)[0])
    (length,) = struct.unpack_from("<H", written, fields)
    entry = 4 + 2 * BODY
    (place,) = struct.unpack_from("<H", written, fields + entry) if length > entry else (0,)
    (body,) = struct.unpack_from("<q", written, root + place) if place else (0,)
    return PREFIX + size + body


def _padded(size: int) -> int:
    return (size + 7) // 8 * 8


def _declared(flat: Flatbuffer, offset: int, size: int) -> Message:
    """The values that a message's metadata declares, checked against each other."""
    root = flat.root()
    kind = KINDS.get(root.number(1, "B"), "")
    body = root.number(BODY, "q")
    header = root.table(2)
    if not kind or header is None:
        raise DamageError(offset, "a message of a kind that no trace has")
    custom = {}
    for pair in root.tables(4):
        key, value = pair.text(0), pair.text(1)
        custom[bytes(flat.data[key])] = slice(PREFIX + value.start, PREFIX + value.stop)
    if not 0 <= body <= BODY_MAX or body % 8 or (kind == "schema" and body):
        raise DamageError(offset, f"a {kind} cannot have {body:,} bytes")
    if kind == "schema":
        return Message(kind, offset, PREFIX + size, custom=custom)
    batch: Table | None = header
    if kind == "dictionary":
        if header.number(2, "B"):
            raise DamageError(offset, "a dictionary that adds to another")
        batch = header.table(1)
    if batch is None:
        raise DamageError(offset, "a dictionary without names")
    rows, nodes, buffers = batch.number(0, "q"), batch.structs(1, "qq"), batch.structs(2, "qq")
    if not 0 <= rows <= BODY_MAX or len(nodes) > PARTS_MAX or len(buffers) > PARTS_MAX or batch.place(4):
        raise DamageError(offset, f"a {kind} cannot have {rows:,} rows in {len(buffers):,} buffers")
    if any(node != (rows, 0) for node in nodes):
        raise DamageError(offset, f"the columns of a {kind} have different lengths, or nulls")
    if any(start < 0 or length < 0 or start + length > body for start, length in buffers):
        raise DamageError(offset, f"a buffer of a {kind} lies outside of it")
    places = tuple((start, length) for start, length in buffers)
    return Message(kind, offset, PREFIX + size + body, body, rows, places, batch.table(3) is not None, custom)


def check_declared(message: Message, raw: bytes) -> None:
    """Raise DamageError if a dictionary or batch would decompress to more than it may; ``raw`` are its bytes."""
    start = message.size - message.body
    whole = 0
    for at, length in message.buffers:
        size = length
        if message.packed and length:
            if length < 8:
                raise DamageError(message.offset, f"a buffer of a {message.kind} is too short")
            (size,) = struct.unpack_from("<q", raw, start + at)
            size = length - 8 if size == -1 else size  # -1: stored uncompressed
            if size < 0:
                raise DamageError(message.offset, f"a buffer of a {message.kind} cannot unpack to {size:,} bytes")
        whole += size
    # Without rows there may still be the offsets of a batch that was sliced.
    limit = min(BODY_MAX, (1 << 20) + RATIO_MAX * message.body) if message.rows else BODY_MAX
    if message.kind == "dictionary":
        limit = min(limit, NAMES_BYTES_MAX)
        if message.rows > NAMES_MAX:
            raise DamageError(message.offset, f"a dictionary of {message.rows:,} names; {NAMES_MAX:,} is the limit")
    if whole > limit:
        what = f"a {message.kind} of {message.body:,} bytes would unpack to {whole:,}"
        raise DamageError(message.offset, f"{what}; {limit:,} is the limit")
    if message.rows > whole:
        raise DamageError(message.offset, f"a {message.kind} has {message.rows:,} rows in {whole:,} bytes")


def seal(raw: bytes | bytearray | memoryview, value: slice, before: int = 0) -> bytes:
    """The eight digits for a batch whose bytes are ``raw``, with the seal at ``value``; ``before`` is the CRC-32 of the
    bytes since the batch before it."""
    view = memoryview(raw)
    crc = zlib.crc32(view[: value.start], before)
    crc = zlib.crc32(BLANK_SEAL.encode(), crc)
    return b"%08x" % zlib.crc32(view[value.stop :], crc)


class Seals:
    """Checks the seals of one file, message by message. Either every batch has a seal, or none has."""

    def __init__(self) -> None:
        self.sealed: bool | None = None  # unknown before the first batch
        self._before = 0

    def check(self, message: Message, raw: bytes) -> None:
        """Check the next message. Raises DamageError if it is not what was written."""
        if message.kind != "batch":
            self._before = zlib.crc32(raw, self._before)
            return
        value = message.custom.get(keys.SEAL.encode())
        before, self._before = self._before, 0
        if self.sealed is None:
            self.sealed = value is not None
        if (value is not None) != self.sealed:
            raise DamageError(message.offset, f"some batches have {keys.SEAL}, and one does not")
        if value is not None and seal(raw, value, before) != raw[value]:
            raise DamageError(message.offset, f"a batch has changed since it was written (its {keys.SEAL} differs)")


def footer_blocks(raw: bytes, offset: int) -> list[tuple[int, int, int]]:
    """Offset, size before the body and size of the body of each dictionary and batch in a file's footer."""
    try:
        root = Flatbuffer(raw).root()
        return [(at, head, body) for field in (2, 3) for at, head, body in root.structs(field, "qi4xq")]
    except OutsideError:
        raise DamageError(offset, "its footer is damaged") from None
