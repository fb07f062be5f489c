"""What vmrun itself does with qcow2 images (QEMU, docs/interop/qcow2.txt): the size of a disk, and an empty overlay."""

import os
import struct

HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
MAGIC, VERSION, BITS, REFCOUNT_ORDER = b"QFI\xfb", 3, 16, 4
CLUSTER = 1 << BITS
REACH = CLUSTER * CLUSTER // 8  # bytes of the disk that an entry of the first table stands for
SIZE_AT = 24


def size(descriptor: int) -> int:
    """The size of the disk in an image, in bytes; 0: it is none."""
    found = os.pread(descriptor, 8, SIZE_AT)
    return int.from_bytes(found, "big") if len(found) == 8 else 0


def empty(size: int) -> bytes:
    """An image of a disk of so many bytes, of which none has been written: all reads go to what is behind it."""
    entries = -(-size // REACH)
    clusters = 3 + -(-8 * entries // CLUSTER)  # header, table and block of reference counts, first table
    header = HEADER.pack(
        MAGIC, VERSION,
        0, 0,  # what is behind it is named to the program that opens it
        BITS, size,
        0,  # not encrypted
        entries, 3 * CLUSTER,
        CLUSTER, 1,
        0, 0,  # no snapshots
        0, 0, 0,
        REFCOUNT_ORDER, HEADER.size,
    )  # fmt: skip
    table = (2 * CLUSTER).to_bytes(8, "big")
    counts = (1).to_bytes(2, "big") * clusters
    return b"".join(part.ljust(CLUSTER, b"\0") for part in (header, table, counts)) + bytes((clusters - 3) * CLUSTER)
