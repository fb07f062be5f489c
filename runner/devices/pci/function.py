"""The base class of devices that are a PCI function (PCI Local Bus 3.0, chapter 6): configuration space with a type 0
header, base address registers that map regions, capabilities, INTA and MSI-X."""

from typing import NamedTuple

from runner.devices.device import Device, MapError
from runner.devices.pci.msix import MSIX, VectorState
from runner.devices.state import State, octets, parts
from vmspec import layout
from vmspec.registers import pci as R

CONFIGURATION = "configuration"  # the name of a function's region in configuration space

# Where a base address register may lie, by space. What is there already keeps its place.
WINDOWS = {"mmio": range(*layout.PCI_REACH), "port": range(layout.PCI_IO, layout.PCI_IO + layout.PCI_IO_SIZE)}


class FunctionState(State):
    """A function's configuration space and its MSI-X vectors."""

    configuration: bytes = octets(R.CONFIGURATION_SIZE, R.CONFIGURATION_SIZE)
    vectors: tuple[VectorState, ...] = parts(VectorState, 2048)


class Identity(NamedTuple):
    """What a function says that it is."""

    vendor: int
    device: int
    class_code: int  # base class, subclass, interface: 0x020000
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0


class BAR(NamedTuple):
    """A base address register: it maps ``region``, of ``size`` bytes, a power of two. ``start`` is where it lies at
    power-on, as firmware would have placed it, and mapped; the guest moves it."""

    region: str
    size: int
    start: int = 0
    space: str = "mmio"  # in the first 4 GiB, or "port"


class Function(Device):
    """A PCI function. A subclass calls :meth:`begin` and :meth:`capability` in its ``start``, then :meth:`power_on`.

    The guest changes only the bits of configuration space that are writable. After each write the function compares
    what follows from them: where its regions lie, whether MSI-X sends, the level of INTA. A region is mapped while
    the command register says so, and only within the host bridge's windows. One that would overlap another region is
    not mapped; the next write to the function's configuration space tries again.
    """

    def begin(self, identity: Identity, bars: tuple[BAR, ...] = (), line: int | None = None) -> None:
        """Make the header. ``line`` is the interrupt of the INTA pin, None: the function has no pin."""
        self._initial = bytearray(R.CONFIGURATION_SIZE)
        self._writable = bytearray(R.CONFIGURATION_SIZE)
        self._bars = bars
        self._mapped: list[int | None] = [None for _ in bars]
        self._end, self._last = R.HEADER_SIZE, R.CAPABILITIES  # of the capabilities; the byte that links the next one
        self._asserted = self._level = False  # what the function wants of INTA, and what INTA is
        self.msix = MSIX(0, self.msi)
        for offset, size, value in (
            (R.VENDOR_ID, 2, identity.vendor),
            (R.DEVICE_ID, 2, identity.device),
            (R.REVISION_ID, 1, identity.revision),
            (R.CLASS_CODE, 3, identity.class_code),
            (R.SUBSYSTEM_VENDOR_ID, 2, identity.subsystem_vendor),
            (R.SUBSYSTEM_ID, 2, identity.subsystem),
            (R.INTERRUPT_LINE, 1, R.NO_LINE if line is None else line),
            (R.INTERRUPT_PIN, 1, 0 if line is None else R.INTA),
        ):
            self._put(self._initial, offset, size, value)
        spaces = 0
        for index, bar in enumerate(bars):
            spaces |= R.IO_SPACE if bar.space == "port" else R.MEMORY_SPACE
            self._put(self._initial, R.BAR + 4 * index, 4, bar.start | (R.IO_BAR if bar.space == "port" else 0))
            self._put(self._writable, R.BAR + 4 * index, 4, -bar.size & 0xFFFFFFFF)
        self._put(self._initial, R.COMMAND, 2, spaces)
        self._put(self._writable, R.COMMAND, 2, spaces | R.BUS_MASTER | R.INTX_OFF)
        self._put(self._writable, R.INTERRUPT_LINE, 1, 0xFF)

    def register(self, offset: int, size: int, value: int, writable: int = 0) -> None:
        """Give a register of the function's own its value after power-on, and the bits of it that the guest may
        write."""
        self._put(self._initial, offset, size, value)
        self._put(self._writable, offset, size, writable)

    def capability(self, kind: int, body: bytes, writable: bytes = b"") -> int:
        """Add a capability, ``body`` after its two-byte header; return its offset. ``writable`` are the bits of the
        body that the guest may write."""
        at = self._end
        self._end = at + 2 + len(body) + -(2 + len(body)) % 4
        self._initial[self._last] = at
        self._initial[at : at + 2 + len(body)] = bytes((kind, 0)) + body
        self._writable[at + 2 : at + 2 + len(writable)] = writable
        self._last = at + 1
        self._initial[R.STATUS] |= R.CAPABILITIES_LIST
        return at

    def add_msix(self, count: int, table: int, pending: int) -> None:
        """Add the MSI-X capability, the first one, with its table and pending bits at these offsets in BAR 0."""
        body = (count - 1).to_bytes(2, "little") + table.to_bytes(4, "little") + pending.to_bytes(4, "little")
        at = self.capability(R.MSIX, body, (R.MSIX_ENABLE | R.MSIX_MASK).to_bytes(2, "little"))
        assert at == R.MSIX_AT
        self.msix = MSIX(count, self.msi)

    def power_on(self) -> None:
        """Take the state after power-on."""
        self.configuration = bytearray(self._initial)
        self.msix.reset()
        self._asserted = False
        self._follow()

    @staticmethod
    def _put(space: bytearray, offset: int, size: int, value: int) -> None:
        space[offset : offset + size] = value.to_bytes(size, "little")

    def _get(self, offset: int, size: int) -> int:
        return int.from_bytes(self.configuration[offset : offset + size], "little")

    # The guest's side

    def read_configuration(self, offset: int, size: int) -> int:
        """Read from configuration space."""
        return self._get(offset, size)

    def write_configuration(self, offset: int, size: int, value: int) -> None:
        """Write the writable bits of configuration space."""
        for at, byte in enumerate(value.to_bytes(size, "little"), offset):
            mask = self._writable[at]
            self.configuration[at] = self.configuration[at] & ~mask | byte & mask
        self._follow()

    @property
    def master(self) -> bool:
        """Whether the function may read and write memory, and so send messages."""
        return bool(self._get(R.COMMAND, 2) & R.BUS_MASTER)

    def _follow(self) -> None:
        """Do what follows from the configuration."""
        command = self._get(R.COMMAND, 2)
        for index, bar in enumerate(self._bars):
            decoded = command & (R.IO_SPACE if bar.space == "port" else R.MEMORY_SPACE)
            start = self._get(R.BAR + 4 * index, 4) & -bar.size
            window = WINDOWS[bar.space]
            self._map(index, start if decoded and start in window and start + bar.size - 1 in window else None)
        if self.msix.vectors:
            control = self._get(R.MSIX_AT + R.MSIX_CONTROL, 2)
            self.msix.control(bool(control & R.MSIX_ENABLE), bool(control & R.MSIX_MASK), self.master)
        self.assert_inta(self._asserted)

    def _map(self, index: int, start: int | None) -> None:
        if start == self._mapped[index]:
            return
        region = self._bars[index].region
        if self._mapped[index] is not None:
            self.bus.unmap(region)
            self._mapped[index] = None
        if start is not None:
            try:
                self.bus.map(region, start)
            except MapError:
                return  # another function's region is there
            self._mapped[index] = start

    def assert_inta(self, asserted: bool) -> None:
        """Whether the function wants its pin asserted. The status register shows it; INTA follows unless the guest has
        disabled it or uses MSI-X (6.2.2, 6.8.3.3)."""
        self._asserted = asserted
        status = self.configuration[R.STATUS] & ~R.INTERRUPT_STATUS
        self.configuration[R.STATUS] = status | (R.INTERRUPT_STATUS if asserted else 0)
        level = asserted and not self.msix.enabled and not self._get(R.COMMAND, 2) & R.INTX_OFF
        if level != self._level:
            self._level = level
            self.irq.set(level)

    # Life

    def save_function(self) -> FunctionState:
        """The state of configuration space and MSI-X."""
        return FunctionState(configuration=bytes(self.configuration), vectors=self.msix.save())

    def load_function(self, state: FunctionState, asserted: bool) -> None:
        """Continue from such a state: what the guest can write is taken from it, all else is the function's own.
        Raises StateError."""
        self.msix.load(state.vectors)
        spaces = self._initial, self._writable, state.configuration
        initial, mask, saved = (int.from_bytes(space, "little") for space in spaces)
        self._put(self.configuration, 0, R.CONFIGURATION_SIZE, initial & ~mask | saved & mask)
        self._asserted = asserted
        self._follow()
