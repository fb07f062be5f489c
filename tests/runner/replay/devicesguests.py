"""Flat guests in 32-bit mode that use a virtio device with virtual time, and show what it writes to their memory."""

import struct
from random import Random

from tests.fakes.flatdriver import AVAILABLE, DATA, HERE, USED, describe, put, start, store
from vmspec.registers import virtio as R

VIRTUAL = {"time": "virtual", "timeout": "120s"}
RECORDED = {"inputs": True}
HEADER, STATUS = 0x30000, 0x30100  # of a disk's request; statuses, one for each
PAGE = 0x1000
RING = 72  # bytes of the used ring, and two more
SHOWN = 0x700  # a port without a device
IDT, POINTER, COUNT = 0x40000, 0x48000, 0x48010
VECTOR = 0x35  # of the first device
ENTRIES = 8  # of a queue


def poll(address, value, jump=0x75):
    """Wait until a word in memory has a value, with an exit in each turn: in al, 0x80; cmp word [address]; jne."""
    return b"\xe4\x80\x66\x81\x3d" + struct.pack("<IH", address, value) + bytes([jump, 0xF3])


def at_least(address, value):
    """The same until it has that value or a higher one: jb."""
    return poll(address, value, 0x72)


def word(address, value):
    """mov word [address], value"""
    return b"\x66\xc7\x05" + struct.pack("<IH", address, value)


def notify(number, head):
    """Offer a chain, the guest's one of this number."""
    ring = word(AVAILABLE + 4 + 2 * (number % ENTRIES), head) + word(AVAILABLE + 2, number + 1)
    return ring + store(HERE + R.QUEUE_NOTIFY, 0)


def show(address, size):
    """Write memory to a port, four bytes an exit: rep outsd."""
    return (
        b"\xbe" + struct.pack("<IBI", address, 0xB9, size // 4) + b"\x66\xba" + struct.pack("<H", SHOWN) + b"\xf3\x6f"
    )


def disk_request(number, sector, size, wait=poll, kind=0):
    """A request of ``size`` bytes at a page of its own, awaited; then all that the device has written."""
    data = DATA + PAGE * number
    code = put(HEADER, struct.pack("<IIQ", kind, 0, sector)) + describe(0, HEADER, 16, 1, 1)
    code += describe(1, data, size, 3 if kind == 0 else 1, 2) + describe(2, STATUS + 4 * number, 1, 2)
    code += notify(number, 0) + wait(USED + 2, number + 1)
    return code + show(data, size) + show(STATUS + 4 * number, 4) + show(USED, RING)


def reads(requests):
    """Reads of a disk: a sector and a number of bytes each."""
    return start() + b"".join(disk_request(number, *one) for number, one in enumerate(requests))


def random_reads(random: Random, sectors: int, n: int = 2) -> list[tuple[int, int]]:
    return [(random.randrange(sectors), 512) for _ in range(n)]


def random_bytes(sizes):
    """Reads of random bytes."""
    code = start()
    for number, size in enumerate(sizes):
        at = DATA + PAGE * number
        code += describe(0, at, size, 2) + notify(number, 0) + poll(USED + 2, number + 1)
        code += show(at, size + 3) + show(USED, RING)
    return code


def echo(count):
    """Receive so many bytes of a console's input, each in a buffer of its own, and write them to the debug port."""
    code = start() + b"".join(describe(number, DATA + number, 1, 2) for number in range(ENTRIES))
    code += b"".join(word(AVAILABLE + 4 + 2 * number, number) for number in range(ENTRIES))
    code += word(AVAILABLE + 2, min(count, ENTRIES)) + store(HERE + R.QUEUE_NOTIFY, 0)
    for number in range(count):
        code += at_least(USED + 2, number + 1)
        code += b"\xa0" + struct.pack("<I", DATA + number % ENTRIES) + b"\xe6\xe9"  # mov al, [..]; out 0xe9, al
        if number + ENTRIES < count:
            code += word(AVAILABLE + 2, number + ENTRIES + 1) + store(HERE + R.QUEUE_NOTIFY, 0)
    return code


RECEIVED, BUFFERS = 0x50000, 0x51000  # the queue of a network's frames to the driver, and its buffers
BUFFER = 0x800
RECEIVED_USED = RECEIVED + 0x200


def exchange(frames, wait=at_least):
    """Send frames. After each, await one more that comes, show its beginning, and give the buffer back."""
    code = start(features=R.NET_MRG_RXBUF, index=1)
    steps = [(R.QUEUE_SEL, 0), (R.QUEUE_NUM, ENTRIES), (R.QUEUE_DESC, RECEIVED), (R.QUEUE_DRIVER, RECEIVED + 0x100)]
    steps += [(R.QUEUE_DEVICE, RECEIVED_USED), (R.QUEUE_READY, 1)]
    code += b"".join(store(HERE + offset, value) for offset, value in steps)
    for at in range(ENTRIES):
        fields = struct.unpack("<4I", struct.pack("<QIHH", BUFFERS + BUFFER * at, BUFFER, 2, 0))
        code += b"".join(store(RECEIVED + 16 * at + 4 * n, field) for n, field in enumerate(fields))
        code += word(RECEIVED + 0x104 + 2 * at, at)
    code += word(RECEIVED + 0x102, ENTRIES) + store(HERE + R.QUEUE_NOTIFY, 0)
    for number, frame in enumerate(frames):
        code += put(DATA, bytes(12) + frame) + describe(0, DATA, 12 + len(frame), 0)
        code += word(AVAILABLE + 4 + 2 * (number % ENTRIES), 0) + word(AVAILABLE + 2, number + 1)
        code += store(HERE + R.QUEUE_NOTIFY, 1) + poll(USED + 2, number + 1)
        code += wait(RECEIVED_USED + 2, number + 1) + show(BUFFERS + BUFFER * (number % ENTRIES), 64)
        code += show(RECEIVED_USED, RING)
        code += word(RECEIVED + 0x102, number + 1 + ENTRIES) + store(HERE + R.QUEUE_NOTIFY, 0)
    return code


def random_frames(random: Random, n: int) -> list[bytes]:
    return [random.randbytes(random.randrange(14, 300)) for _ in range(n)]


def exchange_interrupted(frames):
    """The same; the guest is halted until a frame interrupts."""
    return interrupts(exchange(frames, _halts_until))


def _halts_until(address, value):
    """sti; hlt; cli; cmp word [address], value; jb; before that the same comparison, as it may be there already"""
    compare = b"\x66\x81\x3d" + struct.pack("<IH", address, value)
    halt = b"\xfb\xf4\xfa" + compare
    halt += b"\x72" + bytes([256 - len(halt) - 2])
    return compare + b"\x73" + bytes([len(halt)]) + halt


def _port(port, value):
    return bytes([0xB0, value, 0xE6, port])


def interrupted(requests):
    """Reads of a disk; the guest is halted until each interrupts."""
    code = b"".join(disk_request(number, *one, wait=_halts) + show(COUNT, 4) for number, one in enumerate(requests))
    return interrupts(start() + code)


def interrupts(code):
    """A guest that counts the first device's interrupts."""
    setup = b"".join(
        _port(port, value)
        for port, value in [(0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xDF)]  # only interrupt 5
    )
    # inc dword [COUNT]; mov al, 0x20; out 0x20, al. A KVM that interprets the guest's code may lack IRET in this mode,
    # so the handler returns by: pop eax; add esp, 8; jmp eax.
    handler = b"\xff\x05" + struct.pack("<I", COUNT) + _port(0x20, 0x20) + b"\x58\x83\xc4\x08\xff\xe0"
    jump = b"\xe9" + struct.pack("<I", len(handler))
    at = 0x1000 + len(jump)  # where the guest's code lies
    gate = struct.pack("<HHHH", at & 0xFFFF, 0x10, 0x8E00, at >> 16)
    setup += put(IDT + 8 * VECTOR, gate) + put(POINTER, struct.pack("<HI", 0x7FF, IDT))
    setup += b"\x0f\x01\x1d" + struct.pack("<I", POINTER)  # lidt
    return jump + handler + setup + code


def _halts(address, value):
    """sti; hlt; cli; cmp word [address], value; jne"""
    code = b"\xfb\xf4\xfa\x66\x81\x3d" + struct.pack("<IH", address, value)
    return code + b"\x75" + bytes([256 - len(code) - 2])


LONG = 0x100000


def long_read(size):
    """A read of so many bytes at LONG."""
    code = start() + put(HEADER, struct.pack("<IIQ", 0, 0, 0)) + describe(0, HEADER, 16, 1, 1)
    code += describe(1, LONG, size, 3, 2) + describe(2, STATUS, 1, 2)
    return code + notify(0, 0) + poll(USED + 2, 1) + show(LONG + size - 16, 16)


def writes(recording):
    return [transfer for transfer in recording.dma if transfer.direction == "write"]


class Shown:
    """Which exits of a run of :func:`reads` show which bytes of memory."""

    def __init__(self, recording, requests):
        self._exits = len(recording.exits)
        self._bytes = {}  # by exit: the addresses that it shows
        self._polls = {}  # by exit: the value that the used index is compared with after it
        addresses = []
        for number, (_, size) in enumerate(requests):
            data = DATA + PAGE * number
            addresses += [
                *range(data, data + size),
                *range(STATUS + 4 * number, STATUS + 4 * number + 4),
                *range(USED, USED + RING),
            ]
        done = 0
        for exit in recording.exits:
            if exit.addr == SHOWN:
                self._bytes[exit.seq] = addresses[: len(exit.bytes)]
                del addresses[: len(exit.bytes)]
                done += USED in self._bytes[exit.seq]
            elif exit.addr == 0x80:
                self._polls[exit.seq] = done + 1
        assert addresses == []
        self._real = writes(recording)

    def first(self, writes):
        """The first exit at which a run with these writes differs."""
        real, other = {}, {}
        for exit in range(self._exits):
            if any(real.get(at, 0) != other.get(at, 0) for at in self._bytes.get(exit, ())):
                return exit
            for memory, each in ((real, self._real), (other, writes)):
                for write in each:
                    if write.exit == exit:
                        if write.addr + len(write.data) > 1 << 20:
                            return exit
                        memory.update(enumerate(write.data, write.addr))
            if exit in self._polls:
                ends = [_word(memory) == self._polls[exit] for memory in (real, other)]
                if ends[0] != ends[1]:
                    return exit + 1
        return None


def _word(memory):
    return memory.get(USED + 2, 0) | memory.get(USED + 3, 0) << 8


def reads_for_ever(sector, size=512):
    """Read from a sector on again and again."""
    code = start() + put(HEADER, struct.pack("<IIQ", 0, 0, sector)) + describe(0, HEADER, 16, 1, 1)
    code += describe(1, DATA, size, 3, 2) + describe(2, STATUS, 1, 2)
    kick = store(HERE + R.QUEUE_NOTIFY, 0)
    # xor ax, ax; 1: inc ax; mov [available index], ax; kick; 2: out 0x80, al; cmp ax, [used index]; jne 2b; jmp 1b
    turn = b"\x66\x40\x66\xa3" + struct.pack("<I", AVAILABLE + 2) + kick
    wait = b"\xe6\x80\x66\x3b\x05" + struct.pack("<I", USED + 2)
    wait += b"\x75" + bytes([256 - len(wait) - 2])
    turn += wait
    return code + b"\x66\x31\xc0" + turn + b"\xe9" + struct.pack("<i", -len(turn) - 5)
