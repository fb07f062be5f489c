"""Machine code of a virtio driver in a small flat guest in 32-bit mode, for the first device of a machine by mmio."""

import struct

import tracer
from vmspec.registers import virtio as R

HERE = 0xD0000000  # where the planner puts the first device's registers
QUEUE, DATA = 0x10000, 0x20000  # descriptors, with the rings after them; buffers
AVAILABLE, USED = QUEUE + 16 * 8, QUEUE + 0x200
HLT = b"\xf4"


def store(address, value):
    """mov dword [address], value"""
    return b"\xc7\x05" + struct.pack("<II", address, value)


def await_word(address, value):
    """Wait until a word in memory has a value: cmp word [address], value; jne."""
    return b"\x66\x81\x3d" + struct.pack("<IH", address, value) + b"\x75\xf5"


def show(address, size):
    """Write bytes to the debug port: rep outsb."""
    return b"\xbe" + struct.pack("<I", address) + b"\xb9" + struct.pack("<I", size) + b"\x66\xba\xe9\x00\xf3\x6e"


def show_register(offset):
    """Write a register of the device to the debug port: mov eax, [..]; four times out, shift."""
    return b"\xa1" + struct.pack("<I", HERE + offset) + b"\xe6\xe9\xc1\xe8\x08" * 4


def start(queue=QUEUE, size=8, features=0, index=0):
    """What a driver does before it uses a queue of the device; ``features`` below 32 beside VERSION_1."""
    steps = [(R.STATUS, 0), (R.STATUS, 1), (R.STATUS, 3)]
    steps += [(R.DRIVER_FEATURES_SEL, 0), (R.DRIVER_FEATURES, features)]
    steps += [(R.DRIVER_FEATURES_SEL, 1), (R.DRIVER_FEATURES, 1), (R.STATUS, 11)]
    steps += [(R.QUEUE_SEL, index), (R.QUEUE_NUM, size), (R.QUEUE_DESC, queue)]
    steps += [(R.QUEUE_DRIVER, AVAILABLE), (R.QUEUE_DEVICE, USED), (R.QUEUE_READY, 1), (R.STATUS, 15)]
    return b"".join(store(HERE + offset, value) for offset, value in steps)


def describe(index, address, length, flags, following=0):
    fields = struct.unpack("<4I", struct.pack("<QIHH", address, length, flags, following))
    return b"".join(store(QUEUE + 16 * index + 4 * at, value) for at, value in enumerate(fields))


def offer(index, *heads, queue=0):
    """Fill the available ring from ``index`` on (an even number) and notify the device."""
    words = [heads[at] | (heads[at + 1] << 16 if at + 1 < len(heads) else 0) for at in range(0, len(heads), 2)]
    rings = b"".join(store(AVAILABLE + 4 + 2 * index + 4 * at, word) for at, word in enumerate(words))
    return rings + store(AVAILABLE, (index + len(heads)) << 16) + store(HERE + R.QUEUE_NOTIFY, queue)


def put(address, text):
    """Write a text into memory."""
    padded = text.ljust(-(-len(text) // 4) * 4, b"\0")
    return b"".join(
        store(address + 4 * at, word) for at, word in enumerate(struct.unpack(f"<{len(padded) // 4}I", padded))
    )


def await_reset_needed():
    """Wait until the status has NEEDS_RESET: test dword [status], 64; jz."""
    return b"\xf7\x05" + struct.pack("<II", HERE + R.STATUS, R.NEEDS_RESET) + b"\x74\xf4"


def requests_of(result):
    return tracer.load(result.trace).tables["requests"].table.to_pylist()


def kicks_of(result):
    """The rows of notifications."""
    rows = tracer.load(result.trace).table.to_pylist()
    return [row for row in rows if row["reason"] == "mmio" and row["addr"] == HERE + R.QUEUE_NOTIFY]
