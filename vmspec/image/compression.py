"""The formats with which Linux compresses its kernel (scripts/Makefile.lib), unpacked in bounded pieces.

Each decompressor is imported at its first use.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from vmspec.image.source import ImageError, Source

CHUNK = 1 << 18  # compressed bytes read at once
PIECE = 1 << 20  # unpacked bytes made at once, if the format allows a choice
TRAILER = 4  # bytes of unpacked size that the kernel's build appends, except for gzip, which contains the size
MEMORY_MAX = 256 << 20  # of a decompressor; Debian's xz dictionary has 32 MiB
ZSTD_WINDOW_MAX = 1 << 27  # what the kernel's build uses (zstd --ultra -22)
LZ4_BLOCK = 8 << 20  # of the legacy format
LZ4_FRAME_BLOCK = 4 << 20  # of the frame format, at most
LZ4_PACKED_MAX = LZ4_BLOCK + LZ4_BLOCK // 255 + 16


def unpack(source: Source, offset: int, size: int) -> Iterator[bytes] | None:
    """The unpacked bytes of a kernel payload, in pieces of at most 8 MiB; None for an unknown format.

    Iterating raises :class:`ImageError` for damaged data, ImportError if a package is missing.
    """
    head = source.read(offset, min(size, 6), "the compressed kernel")
    for magic, unpacker in FORMATS:
        if head.startswith(magic):
            return _guarded(unpacker, Payload(source, offset, size - (unpacker is not _gzip) * TRAILER))
    return None


def whole(source: Source) -> Iterator[bytes]:
    """The unpacked bytes of a file that :func:`peek` knows, in pieces. Iterating raises as :func:`unpack`'s does."""
    head = source.start(9)
    unpacker = next(unpacker for magic, unpacker, *_ in FILES if head.startswith(magic))
    return _guarded(unpacker, Payload(source, 0, source.size))


def peek(source: Source) -> tuple[str, bytes] | None:
    """How a whole file is compressed ("a gzip file") and its first unpacked bytes, empty if it is damaged; None if it
    is not compressed."""
    head = source.start(9)
    for magic, unpacker, enough, name in FILES:
        if not head.startswith(magic):
            continue
        try:
            return name, next(filter(None, unpacker(Payload(source, 0, min(enough, source.size)))), b"")
        except Exception:  # any error of a decompressor, or a missing package
            return None if unpacker is _lzma else (name, b"")  # its magic number is short: too little proof
    return None


class Payload:
    """A part of an image file as a readable file."""

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self._source, self._at, self._end = source, offset, offset + size

    def read(self, size: int = CHUNK) -> bytes:
        """Up to ``size`` bytes, and at most a chunk; none at the end."""
        size = min(CHUNK, self._end - self._at, size)
        data = self._source.read(self._at, size, "the compressed kernel") if size > 0 else b""
        self._at += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        """``size`` bytes."""
        data = bytearray()
        while len(data) < size:
            if not (more := self.read(size - len(data))):
                raise EOFError("it ends too early")
            data += more
        return bytes(data)


Unpacker = Callable[[Payload], Iterator[bytes]]


def _guarded(unpacker: Unpacker, payload: Payload) -> Iterator[bytes]:
    """Report any error of a decompressor as a fault of the data; the errors are not fully documented."""
    try:
        yield from unpacker(payload)
    except (ImageError, ImportError):
        raise
    except Exception as error:
        raise ImageError(f"damaged: the compressed kernel cannot be unpacked ({error})") from error


def _gzip(payload: Payload) -> Iterator[bytes]:
    import zlib

    rest = payload.read()
    while rest.startswith(b"\x1f\x8b"):  # one member after the other; zeros may follow
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof and (packed := inflate.unconsumed_tail or rest or payload.read()):
            rest = b""
            yield inflate.decompress(packed, PIECE)
        rest = inflate.unused_data or payload.read()


def _xz(payload: Payload) -> Iterator[bytes]:
    import lzma

    return _streams(payload, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_MAX))


def _lzma(payload: Payload) -> Iterator[bytes]:
    import lzma

    return _streams(payload, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_MAX))


def _bzip2(payload: Payload) -> Iterator[bytes]:
    import bz2

    return _streams(payload, bz2.BZ2Decompressor)


class _Stream(Protocol):
    """The common part of the decompressors of lzma, bz2 and lz4.frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _streams(payload: Payload, start: Callable[[], _Stream]) -> Iterator[bytes]:
    """One stream after the other, until the payload ends."""
    packed = payload.read()
    while packed:
        stream = start()
        while not stream.eof:
            yield stream.decompress(packed, PIECE)
            packed = b""
            if stream.needs_input and not stream.eof and not (packed := payload.read()):
                raise EOFError("it ends too early")
        packed = stream.unused_data or payload.read()


def _lz4(payload: Payload) -> Iterator[bytes]:
    """The legacy format: after the magic number, blocks with their sizes."""
    from lz4 import block

    payload.exactly(4)
    while size := payload.read(4):
        packed = int.from_bytes(size, "little")
        if packed > LZ4_PACKED_MAX:
            raise ValueError(f"a block of {packed} bytes")
        yield block.decompress(payload.exactly(packed), LZ4_BLOCK)


def _lz4_frame(payload: Payload) -> Iterator[bytes]:
    from lz4 import frame

    return _streams(payload, frame.LZ4FrameDecompressor)


def _lzo(payload: Payload) -> Iterator[bytes]:
    return iter(())  # Python has no decompressor for it


def _zstd(payload: Payload) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    with decompressor.stream_reader(payload) as reader:  # type: ignore[arg-type] # it only calls read()
        while piece := reader.read(PIECE):
            yield piece


def _stored(payload: Payload) -> Iterator[bytes]:
    return iter(payload.read, b"")


FORMATS: tuple[tuple[bytes, Unpacker], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\x00", _xz),
    (b"\x5d\x00\x00", _lzma),
    (b"BZh", _bzip2),
    (b"\x02\x21\x4c\x18", _lz4),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x7fELF", _stored),
)
# Compressed files that users may give: magic number, how to unpack them, how much gives their first bytes (a block),
# their name.
FILES: tuple[tuple[bytes, Unpacker, int, str], ...] = (
    (b"\x1f\x8b", _gzip, 1 << 12, "a gzip file"),
    (b"\xfd7zXZ\x00", _xz, 1 << 16, "an xz file"),
    (b"\x28\xb5\x2f\xfd", _zstd, 1 << 18, "a zstd file"),
    (b"\x02\x21\x4c\x18", _lz4, 4 + 4 + LZ4_PACKED_MAX, "an lz4 file"),
    (b"\x04\x22\x4d\x18", _lz4_frame, LZ4_FRAME_BLOCK + (1 << 10), "an lz4 file"),
    (b"BZh", _bzip2, 1 << 20, "a bzip2 file"),
    (b"\x89LZO\0\r\n\x1a\n", _lzo, 0, "an LZO file"),
    (b"\x5d\x00\x00", _lzma, 1 << 16, "an lzma file"),
)
