"""The fixed ACPI registers (ACPI 6.5, 4.8.3): PM1 event and control blocks, and the reset register.

The only fixed event is the power button (4.8.2.2.1.1), which the host presses. There is no PM timer.
"""

from runner.devices.isa import ISADevice
from runner.devices.state import State, octets
from vmspec.registers import acpi as R


class ACPIState(State):
    """The three blocks."""

    status: bytes = octets(2, 2)
    enable: bytes = octets(2, 2)
    control: bytes = octets(2, 2)


class ACPI(ISADevice):
    """Power-off, reset and the power button, as the FADT and the DSDT describe them."""

    registers = tuple(range(7))

    state_class = ACPIState

    def __init__(self) -> None:
        self._line = False

    def press_power_button(self) -> None:
        """The user presses it once."""
        self._status[1] |= R.PWRBTN_STS >> 8
        self.changed()

    def drive(self) -> None:
        # The SCI is level-triggered: it is high while an event has happened that is enabled (4.8.3.1.2).
        events = int.from_bytes(self._status, "little") & int.from_bytes(self._enable, "little")
        line = bool(events & R.PWRBTN_STS)
        if line != self._line:
            self._line = line
            self.irq.set(line)

    def clear(self) -> None:
        self._status = bytearray(2)
        self._enable = bytearray(2)
        self._control = bytearray((R.SCI_EN, 0))

    def peek(self, offset: int) -> int | None:
        match offset:
            case _ if offset < R.PM1_ENABLE:
                return self._status[offset - R.PM1_STATUS]
            case _ if offset < R.PM1_CONTROL:
                return self._enable[offset - R.PM1_ENABLE]
            case _ if offset < R.RESET:
                return self._control[offset - R.PM1_CONTROL]
            case _:
                return 0

    def store(self, offset: int, value: int) -> None:
        match offset:
            case _ if offset < R.PM1_ENABLE:
                self._status[offset - R.PM1_STATUS] &= ~value
            case _ if offset < R.PM1_CONTROL:
                at = offset - R.PM1_ENABLE
                self._enable[at] = value & R.PM1_ENABLES >> 8 * at
            case R.PM1_CONTROL:
                # SCI_EN is always on: there is no SMI command to turn it on. GBL_RLS is write-only, for firmware.
                self._control[0] = value & ~R.GBL_RLS | R.SCI_EN
            case R.RESET if value == R.RESET_VALUE:
                self.end("reset", None)
            case _ if offset < R.RESET:
                self._control[1] = value & ~((R.SLP_EN | R.PM1_CONTROL_ZERO) >> 8)
                if value & R.SLP_EN >> 8:
                    self._sleep((value << 8 & R.SLP_TYP) // (R.SLP_TYP & -R.SLP_TYP))

    def _sleep(self, kind: int) -> None:
        if kind in (R.S5, R.S5_QEMU):
            self.end("poweroff", None)
        else:
            self._status[1] |= R.WAK_STS >> 8  # a state that the DSDT does not offer: wake at once
