"""Small flat guests that drive virtio devices through real exits."""

import struct
from hashlib import blake2b

import pytest

import tracer
from vmspec.registers import virtio as R

pytestmark = pytest.mark.kvm

HERE = 0xD0000000  # where the planner puts the first device's registers
QUEUE, DATA = 0x10000, 0x20000  # descriptors, with the rings after them; buffers
AVAILABLE, USED = QUEUE + 16 * 8, QUEUE + 0x200
HLT = b"\xf4"
FIRST = b"".join(blake2b(n.to_bytes(8, "little"), key=(7).to_bytes(8, "little")).digest() for n in range(2))


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


def start(queue=QUEUE, size=8, features=0):
    """What a driver does before it uses the device; ``features`` below 32 beside VERSION_1."""
    steps = [(R.STATUS, 0), (R.STATUS, 1), (R.STATUS, 3)]
    steps += [(R.DRIVER_FEATURES_SEL, 0), (R.DRIVER_FEATURES, features)]
    steps += [(R.DRIVER_FEATURES_SEL, 1), (R.DRIVER_FEATURES, 1), (R.STATUS, 11)]
    steps += [(R.QUEUE_SEL, 0), (R.QUEUE_NUM, size), (R.QUEUE_DESC, queue)]
    steps += [(R.QUEUE_DRIVER, AVAILABLE), (R.QUEUE_DEVICE, USED), (R.QUEUE_READY, 1), (R.STATUS, 15)]
    return b"".join(store(HERE + offset, value) for offset, value in steps)


def describe(index, address, length, flags, following=0):
    fields = struct.unpack("<4I", struct.pack("<QIHH", address, length, flags, following))
    return b"".join(store(QUEUE + 16 * index + 4 * at, value) for at, value in enumerate(fields))


def offer(index, *heads):
    """Fill the available ring from ``index`` on (an even number) and notify the device."""
    words = [heads[at] | (heads[at + 1] << 16 if at + 1 < len(heads) else 0) for at in range(0, len(heads), 2)]
    rings = b"".join(store(AVAILABLE + 4 + 2 * index + 4 * at, word) for at, word in enumerate(words))
    return rings + store(AVAILABLE, (index + len(heads)) << 16) + store(HERE + R.QUEUE_NOTIFY, 0)


@pytest.fixture
def drive(run_guest):
    """Runs a guest in 32-bit mode with one device, and returns the result."""

    def run(code, device=None, **spec):
        device = device or {"kind": "virtio-rng", "seed": 7}
        return run_guest(
            code + HLT,
            boot={"mode": "protected"},
            devices=[device, {"kind": "debug-port"}],
            vm={"timeout": "20s"} | spec,
        )

    return run


def test_a_guest_gets_random_bytes(drive):
    result = drive(start() + describe(0, DATA, 100, 2) + offer(0, 0) + await_word(USED + 2, 1) + show(DATA, 100))
    assert (result.kind, result.console) == ("halt", FIRST[:100])


def test_the_trace_shows_the_notification(drive):
    result = drive(start() + describe(0, DATA, 16, 2) + offer(0, 0) + await_word(USED + 2, 1))
    rows = [row for row in tracer.load(result.trace).table.to_pylist() if row["device"] == "virtio-rng0"]
    assert (rows[-1]["addr"], rows[-1]["direction"], rows[-1]["data"]) == (HERE + R.QUEUE_NOTIFY, "write", 0)


BROKEN = {
    "a head beyond the queue": offer(0, 8),
    "a chain that loops": describe(0, DATA, 4, 1, 0) + offer(0, 0),
    "a next beyond the queue": describe(0, DATA, 4, 1, 8) + offer(0, 0),
    "a buffer outside RAM": describe(0, 0x7FFFFFFF0, 64, 2) + offer(0, 0),
    "a buffer in the device's own registers": describe(0, HERE, 64, 2) + offer(0, 0),
    "a buffer whose end wraps": describe(0, 0xFFFFFFFFFFFFFFF0, 64, 2) + offer(0, 0),
    "no bytes": describe(0, DATA, 0, 2) + offer(0, 0),
    "an indirect table without the feature": describe(0, DATA, 16, 4) + offer(0, 0),
    "the queue's own table as an indirect one": describe(0, QUEUE, 16, 4) + offer(0, 0),
    "read after written": describe(0, DATA, 4, 3, 1) + describe(1, DATA, 4, 0) + offer(0, 0),
    "more chains than the queue is long": store(AVAILABLE, 9 << 16) + store(HERE + R.QUEUE_NOTIFY, 0),
}


def await_reset_needed():
    """Wait until the status has NEEDS_RESET: test dword [status], 64; jz."""
    return b"\xf7\x05" + struct.pack("<II", HERE + R.STATUS, R.NEEDS_RESET) + b"\x74\xf4"


@pytest.mark.parametrize("case", BROKEN)
def test_a_hostile_driver_harms_its_own_device_alone_until_it_resets_it(drive, case):
    features = R.INDIRECT_DESC if "the queue's own table" in case else 0
    recovery = store(AVAILABLE, 0) + store(USED, 0) + start() + describe(0, DATA, 32, 2) + offer(0, 0)
    first = start(features=features) + BROKEN[case] + await_reset_needed()
    result = drive(first + recovery + await_word(USED + 2, 1) + show(DATA, 32))
    assert (result.kind, result.console) == ("halt", FIRST[:32])


@pytest.mark.parametrize(
    ("queue", "size"),
    [(QUEUE, 0), (QUEUE, 3), (QUEUE, 0x10000), (QUEUE, 128), (QUEUE + 8, 8), (HERE, 8), (0xFFFFFFF0, 8)],
)
def test_a_queue_that_cannot_be(drive, queue, size):
    result = drive(start(queue, size) + show_register(R.STATUS))
    assert result.console == bytes([R.NEEDS_RESET | 15, 0, 0, 0])
