"""The LPC bridge of the chipset Q35, 00:1f.0 (Intel ICH9 data sheet 316972, 13.1): by which firmware finds a PC's
own devices, and ACPI's timer. The power management block is where the device ``acpi`` has it, and stays there."""

from typing import Any

from runner.devices.pci.function import Function, FunctionState, Identity
from runner.devices.state import State, part
from vmspec import layout
from vmspec.registers import q35 as R

NANOSECONDS = 1_000_000_000


class LPCState(State):
    """Its configuration space."""

    function: FunctionState = part(FunctionState)


class LPC(Function):
    """The bridge. Its routes of PCI interrupts are only remembered: each function has an interrupt of its own."""

    state_class = LPCState

    def start(self) -> None:
        self.begin(Identity(R.INTEL, R.LPC, R.ISA_BRIDGE))
        self.register(R.PMBASE, 4, layout.ACPI_PORTS | R.PMBASE_IO)
        self.register(R.ACPI_CNTL, 1, R.ACPI_EN)
        for first in (R.PIRQ, R.PIRQ2):
            for at in range(first, first + R.PIRQS):
                self.register(at, 1, R.PIRQ_OFF, R.PIRQ_BITS)
        self.register(R.RCBA, 4, 0, R.RCBA_BITS)
        self.power_on()

    def read(self, region: str, offset: int, size: int) -> int:
        if region == "configuration":
            return self.read_configuration(offset, size)
        ticks = self.clock.monotonic() * R.TIMER_HZ // NANOSECONDS & R.TIMER
        return ticks >> 8 * offset & (1 << 8 * size) - 1

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        if region == "configuration":
            self.write_configuration(offset, size, value)

    def reset(self) -> None:
        self.power_on()

    def save(self) -> State:
        return LPCState(function=self.save_function())

    def load(self, state: State) -> None:
        saved: Any = state if type(state) is LPCState else LPCState.again(state)
        self.load_function(saved.function, asserted=False)
