"""A bundle's zstd frame (RFC 8878): whether the file is exactly one complete frame."""

import io
from pathlib import Path
from typing import BinaryIO

from vmspec.schema.problems import Problem, SpecError

MAGIC = b"\x28\xb5\x2f\xfd"
HEADER_MAX = 18  # bytes of a frame's header, its magic number included
WINDOW_MAX = 1 << 27  # bytes that a decoder keeps in memory
RAW, RLE, COMPRESSED = range(3)  # types of block


def check(file: BinaryIO, size: int, path: Path) -> None:
    """Walk over the blocks of an open file; afterwards its position is the start. Raises SpecError if the file is not
    exactly one frame: zstandard does not report a missing end."""
    import zstandard  # late: only bundles need it

    def wrong(message: str) -> SpecError:
        return SpecError((Problem("", message, file=path),))

    buffered = io.BufferedReader(file, 1 << 16)  # type: ignore[type-var]
    try:
        start = buffered.read(HEADER_MAX)
        if not start.startswith(MAGIC):
            raise wrong("is not a bundle: it does not begin as zstd does")
        try:
            parameters = zstandard.get_frame_parameters(start)
            at = zstandard.frame_header_size(start)
        except zstandard.ZstdError:
            raise wrong("is damaged: its header is not one of zstd") from None
        if parameters.window_size > WINDOW_MAX:
            raise wrong(f"needs {parameters.window_size:,} bytes of memory to decompress; {WINDOW_MAX:,} is the most")
        last = False
        while not last:
            buffered.seek(at)
            block = buffered.read(3)
            if len(block) < 3 or at > size:
                raise wrong(f"is truncated at byte {size:,}")
            word = int.from_bytes(block, "little")
            last, kind, length = bool(word & 1), word >> 1 & 3, word >> 3
            if kind > COMPRESSED:
                raise wrong(f"is damaged at byte {at:,}: no block of zstd begins there")
            at += 3 + (1 if kind == RLE else length)
        at += 4 * parameters.has_checksum
        if at > size:
            raise wrong(f"is truncated at byte {size:,}")
        if at < size:
            raise wrong(f"has {size - at:,} bytes after its end, at byte {at:,}")
    finally:
        buffered.detach()
    file.seek(0)
