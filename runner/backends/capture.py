"""Captures of frames as pcapng files (draft-ietf-opsawg-pcapng), which Wireshark and tshark read."""

import errno
import os
import struct
import time
from collections.abc import Callable

from runner.backends.errors import BackendError
from runner.native._native import ffi, lib
from vmspec import __version__

SECTION, INTERFACE, STATISTICS = 0x0A0D0D0A, 1, 5  # block types (4.1, 4.2, 4.6)
BYTE_ORDER, ETHERNET = 0x1A2B3C4D, 1
END, USER_APPLICATION, NAME, ADDRESS, RESOLUTION = 0, 4, 2, 6, 9  # options, by block
RECEIVED, DROPPED, UNSEEN = 4, 5, 7
NANOSECONDS = 9


def block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    """A block with options."""
    for code, value in [*options, (END, b"")]:
        body += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


class Capture:
    """What C captures of one interface into a file, which is open for writing and stays the caller's.

    Time 0 of the trace's clock is the trace's ``vmrun.started``."""

    def __init__(self, fd: int, name: str, mac: str, tsc_khz: int, failed: Callable[[int], None]) -> None:
        """``failed`` is called once with the errno of a failed write. Raises BackendError."""
        self.native = native = ffi.new("struct capture *")
        self._failed: Callable[[int], None] | None = failed
        self._closed = False
        native.fd, native.tsc_khz = fd, tsc_khz
        native.tsc_start, native.epoch = lib.tsc_now(), time.time_ns()
        begin = block(SECTION, struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1), [
            (USER_APPLICATION, f"vmrun {__version__}".encode()),
        ]) + block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0), [
            (NAME, name.encode()), (ADDRESS, bytes.fromhex(mac.replace(":", ""))), (RESOLUTION, bytes([NANOSECONDS])),
        ])  # fmt: skip
        if error := lib.capture_begin(native, begin, len(begin)):
            raise BackendError("capture", f"cannot write it: {os.strerror(error)}")

    def look(self) -> None:
        """Report a failed write."""
        if self.native.error and self._failed is not None:
            failed, self._failed = self._failed, None
            failed(self.native.error)

    def close(self, frames: int, dropped: int) -> None:
        """Write the rest, and how many frames the interface had and dropped. C rests. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        ns = time.time_ns()
        end = block(STATISTICS, struct.pack("<III", 0, ns >> 32, ns & 0xFFFFFFFF), [
            (RECEIVED, struct.pack("<Q", frames)), (DROPPED, struct.pack("<Q", dropped)),
            (UNSEEN, struct.pack("<Q", self.native.dropped)),
        ])  # fmt: skip
        lib.capture_end(self.native, end, len(end))


def why(error: int) -> str | None:
    """What to say of a failed write's errno; None: only its reader has gone, as is a reader's right."""
    return None if error == errno.EPIPE else os.strerror(error)
