"""Devices with byte-wide registers on the ISA bus."""

from collections.abc import Mapping
from types import MappingProxyType

from runner.devices.device import Device
from runner.devices.state import State


class ISADevice(Device):
    """A device whose registers are one byte each; ``registers`` are their numbers.

    A register's number is its offset in the region plus what ``regions`` says of that region: where a card has its
    ports in several places, they may be numbered as the data sheet does. Most have one region.

    An access wider than a byte becomes byte accesses to consecutive registers, lowest first, as the ISA bus splits it
    for an 8-bit card; a number without a register reads as 0xff and ignores writes.

    A register is described by :meth:`peek`, :meth:`fetch` and :meth:`store`. What ``peek`` answers is also published,
    so what the vCPU loop answers alone and what Python would answer cannot differ.
    """

    registers: tuple[int, ...]
    regions: Mapping[str, int] = MappingProxyType({"registers": 0})
    _published: dict[int, int | None]

    def start(self) -> None:
        self._published = dict.fromkeys(self.registers)
        self.clear()
        self.changed()

    def clear(self) -> None:
        """Give the registers, and what hangs on them, the values that they have when the power comes on. What the bus
        and the interrupt line have been told stays."""
        raise NotImplementedError

    def reset(self) -> None:
        self.after(None)
        self.clear()
        self.changed()

    def load(self, state: State) -> None:
        super().load(state)
        self.changed()

    def peek(self, offset: int) -> int | None:
        """What reading the register gives, where reading it changes nothing and time does not either; else None."""
        raise NotImplementedError

    def fetch(self, offset: int) -> int:
        """Read a register for which :meth:`peek` has no answer, with the effects of doing so."""
        raise NotImplementedError

    def store(self, offset: int, value: int) -> None:
        """Write a register."""
        raise NotImplementedError

    def settle(self) -> None:
        """Bring what hangs on the registers in step with them, all but the interrupt line."""

    def drive(self) -> None:
        """Bring the interrupt line in step with the registers."""

    def changed(self) -> None:
        """Settle, publish what now reads differently, drive the line: to be called after every change of state.

        The line comes last: another vCPU may take the interrupt before this returns, and must then read registers
        that say why, or the interrupt is lost.
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
