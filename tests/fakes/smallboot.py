"""A small boot of two vCPUs: its exits and its metadata."""

from tests.fakes import tracefakes
from tests.fakes.tracefakes import exit_

SUMMARY = {
    "result": {"kind": "reset", "status": 0},
    "rows": [0],
    "stats": {
        "start": [{"exits": 0, "halt_wait_ns": 5}, {}],
        "end": [{"exits": 70, "halt_wait_ns": 1_000_005}, {}],
    },
}
SPEC = '[vm]\nname = "boot"\nvcpus = 2\nmemory = "256MiB"\n[boot]\ncmdline = "console=ttyS0"\n'
IMAGES = {"kernel": {"path": "/boot/vmlinuz", "sha256": "ab" * 32}}

# Milliseconds: what is printed then.
CONSOLE = {10: b"first line\r\n", 12: b"second\n", 60: b"after a wait\n", 90: b"last\n"}


def exits_of_a_boot():
    """Two vCPUs: the first prints, byte by byte and a microsecond apart, and probes; the second works and halts."""
    first = [
        exit_(ms * 1_000_000 + 1000 * at, data=bytes([byte]), rip=0xFFFF_FFFF_8100_0000, flags=tracefakes.FLAGS["RIP"])
        for ms, text in CONSOLE.items()
        for at, byte in enumerate(text)
    ]
    first.append(exit_(95_000_000, addr=0xCF8, size=4, data=b"abcd", device=None))
    second = [exit_(ms * 1_000_000, reason="mmio", addr=0xD000_0000, device="rtc0", data=b"12") for ms in range(20, 50)]
    second.append(exit_(50_000_000, 55_000_000, reason="hlt", device=None, data=b"", size=0, direction="none", flags=0))
    return [first, second]
