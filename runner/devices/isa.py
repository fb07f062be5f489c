"""Devices with byte-wide registers on the ISA bus."""

from collections.abc import Mapping
from types import MappingProxyType

from runner.devices.device import Device
from runner.devices.state import State


class ISADevice(Device):
    """A device with registers of one byte each; ``registers`` are their numbers.

    A register's number is its offset in the region plus the number that ``regions`` has for that region. So a card with
    ports in several places can number them as its data sheet does. Most cards have one region.

    An access wider than a byte becomes byte accesses to consecutive registers, lowest first, as the ISA bus splits it
    for an 8-bit card. A number without a register reads as 0xff and ignores writes.

    :meth:`peek`, :meth:`fetch` and :meth:`store` describe a register. The value that ``peek`` returns is also
    published, so the vCPU loop and Python cannot answer differently.
    """

    registers: tuple[int, ...]
    regions: Mapping[str, int] = MappingProxyType({"registers": 0})
    _published: dict[int, int | None]

    def start(self) -> None:
        self._published = dict.fromkeys(self.registers)
        self.clear()
        self.changed()

    def clear(self) -> None:
        """Set the registers, and what depends on them, to their power-on values. The bus and the interrupt line keep
        theirs."""
        raise NotImplementedError

    def reset(self) -> None:
        self.after(None)
        self.clear()
        self.changed()

    def load(self, state: State) -> None:
        super().load(state)
        self.changed()

    def peek(self, offset: int) -> int | None:
        """The register's value if reading it has no side effect and it does not change with time; else None."""
        raise NotImplementedError

    def fetch(self, offset: int) -> int:
        """Read a register for which :meth:`peek` returns None, with the side effects."""
        raise NotImplementedError

    def store(self, offset: int, value: int) -> None:
        """Write a register."""
        raise NotImplementedError

    def settle(self) -> None:
        """Bring what depends on the registers in step with them, except the interrupt line."""

    def drive(self) -> None:
        """Set the interrupt line as the registers say."""

    def changed(self) -> None:
        """Settle, publish changed register values, drive the line; call it after every change of state.

        The line comes last: another vCPU may take the interrupt before this returns. It must then read registers that
        show the cause, or the interrupt is lost.
        """
        self.settle()
        for offset, shown in self._published.items():
            value = self.peek(offset)
            if value != shown:
                self.bus.shadow(*self.place(offset), value)
                self._published[offset] = value
        self.drive()

    def place(self, register: int) -> tuple[str, int]:
        """Region and offset of a register."""
        first, region = max((first, region) for region, first in self.regions.items() if first <= register)
        return region, register - first

    def read(self, region: str, offset: int, size: int) -> int:
        first = self.regions[region] + offset
        return int.from_bytes((self._read_byte(at) for at in range(first, first + size)), "little")

    def _read_byte(self, offset: int) -> int:
        if offset not in self.registers:
            return 0xFF
        value = self.peek(offset)
        if value is None:
            value = self.fetch(offset)
            self.changed()
        return value

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        for at, byte in enumerate(value.to_bytes(size, "little"), self.regions[region] + offset):
            if at in self.registers:
                self.store(at, byte)
                self.changed()
