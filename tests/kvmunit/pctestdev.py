"""QEMU's pc-testdev, which KVM's unit tests use (QEMU, hw/misc/pc-testdev.c), as devices of a spec.

Ports 0xe0 to 0xe3 keep what is written there. A write to port 0xe4 has KVM map a page anew. Port 0x2000 + n is
interrupt line n. At 0xff000000 there are 64 KiB of memory whose every access is an exit.
"""

from runner.devices import Device

PAGE = 4096
IOMEM, IOMEM_SIZE = 0xFF000000, 0x10000
LATCH, FLUSH, LATCH_SIZE, FLUSH_SIZE = 0xE0, 0xE4, 4, 4
LINES, LINE_COUNT = 0x2000, 24


class _Bytes(Device):
    """Bytes that keep what is written."""

    size = 0

    def start(self) -> None:
        self.data = bytearray(self.size)

    def read(self, region: str, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self.data[offset : offset + size] = value.to_bytes(size, "little")


class Latch(_Bytes):
    """Four ports that keep what is written."""

    size = LATCH_SIZE


class Memory(_Bytes):
    """Memory whose every access is an exit."""

    size = IOMEM_SIZE


class Flush(Device):
    """Takes the page of a guest-physical address away from the host and puts it back, so that the guest's next access
    to it is a nested page fault. The tests have one vCPU then, which is at this write."""

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        page = value // PAGE * PAGE
        try:
            kept = self.memory.read(page, PAGE)
        except ValueError:
            return  # not RAM: QEMU does nothing either
        self.memory.discard(page, PAGE)
        self.memory.write(page, kept)


class Line(Device):
    """An interrupt line that a write drives: 0 is low."""

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self.irq.set(bool(value))
