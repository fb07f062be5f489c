"""A counter in memory. A write to offset 0 sets it; a read returns it and adds one. Offset 4 prints a byte."""

from runner.devices import Device


class Counter(Device):
    value = 0

    def read(self, region: str, offset: int, size: int) -> int:
        match offset:
            case 0:
                self.value += 1
                return self.value - 1
            case _:
                return super().read(region, offset, size)

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        match offset:
            case 0:
                self.value = value
            case 4:
                self.output(bytes([value & 0xFF]))
