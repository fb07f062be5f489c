"""Mutated kernels and symbol files, packed in each way, and their readers."""

import bz2
import lzma
import os
import random
import struct
from pathlib import Path

import lz4.block
import zstandard

from tests.mutated import bytesmutation
from tests.mutated.watch import statuses
from tests.vmspec.image.images import PAYLOAD_AT, SETUP_SIZE, bzimage, elf, gzipped, sized
from tests.vmspec.image.kallsyms_tables import BASE, tables
from vmspec.image import symbols
from vmspec.image.source import ImageError

PLACES = (*range(0x1F1, 0x268), *range(0, 0x90))
SPEC = '[vm]\nname = "x"\nmemory = "256MiB"\n[boot]\nkernel = "x"\n'


def lz4_legacy(data: bytes) -> bytes:
    """The legacy format, in one block."""
    packed = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(packed)) + packed


PACKERS = (
    gzipped,
    lambda data: sized(lzma.compress(data, check=lzma.CHECK_CRC32), data),
    lambda data: sized(lzma.compress(data, lzma.FORMAT_ALONE), data),
    lambda data: sized(bz2.compress(data), data),
    lambda data: sized(zstandard.compress(data), data),
    lambda data: sized(lz4_legacy(data), data),
)


def with_symbols() -> bytes:
    """An ELF with a symbol table and its strings."""
    body = elf()
    names = b"\0start\0end\0"
    table = b"".join(struct.pack("<IBBHQQ", name, 2, 0, 1, BASE + 16 * at, 0) for at, name in enumerate((0, 1, 7)))
    at = len(body)
    sections = [
        (0,) * 10,
        (0, 2, 0, 0, at, len(table), 2, 0, 8, 24),
        (0, 3, 0, 0, at + len(table), len(names), 0, 0, 1, 0),
    ]
    head = bytearray(body)
    struct.pack_into("<Q", head, 40, at + len(table) + len(names))
    struct.pack_into("<HHH", head, 58, 64, len(sections), 0)
    return bytes(head) + table + names + b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)


class Images:
    """Good images, and mutations of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x"
        self.spec = folder / "x.toml"
        self.spec.write_text(SPEC)
        listed = [(BASE + 16 * at, f"Tio_{at}") for at in range(600)]
        bodies = [tables(listed, layout) for layout in ("6.1", "6.2", "6.12")]
        kernels = [elf((0x1000000, BASE, body, len(body))) for body in bodies]
        zeros = bytes(16 << 20)
        self.good = [elf(), *kernels, with_symbols(), bzimage(version=0x0204)]
        self.good += [bzimage(packer(kernel)) for packer in PACKERS for kernel in (elf(), kernels[0])]
        # Said to be small, and large: the end of a payload has its size.
        self.bombs = [
            bzimage(packer(zeros)[:-4] + size.to_bytes(4, "little"))
            for packer in PACKERS
            for size in (9, 16 << 20, 1 << 30)
        ]
        self.good.append(b"".join(b"%016x T sym_%d\n" % (BASE + at, at) for at in range(0, 900, 16)))

    def mutate(self, rng: random.Random) -> str:
        """Write a mutated image; returns what was done."""
        if rng.random() < 0.02:
            self.path.write_bytes(rng.choice(self.bombs))
            return "bomb"
        data = rng.choice(self.good)
        if rng.random() < 0.3:
            data = data[: SETUP_SIZE + PAYLOAD_AT] + bytesmutation.mutated(rng, data[SETUP_SIZE + PAYLOAD_AT :])
            self.path.write_bytes(data)
            return "payload"
        self.path.write_bytes(bytesmutation.mutated(rng, data, PLACES))
        if rng.random() < 0.01:
            os.truncate(self.path, 1 << 40)  # sparse
        return "bytes"

    def check(self, rng: random.Random) -> None:
        """Plan a machine with it, and look for its symbols."""
        status, _, err = statuses("vmspec", ["check" if rng.random() < 0.5 else "plan", str(self.spec)])
        assert status in (0, 2), f"status {status}"
        if status == 2:
            assert err.startswith(str(self.spec)), err[:500]
        try:
            found = symbols.read(self.path)
        except ImageError:
            return
        found.at(BASE + 33)
        found.virtual(0x1000020)
