"""The fixed ACPI registers (ACPI 6.5, 4.8.3): PM1 event and control blocks, and the reset register.

No fixed event ever happens, so the SCI stays low. There is no power button and no PM timer.
"""

from runner.devices.isa import ISADevice
from runner.devices.state import State, octets
from vmspec import layout

# Register offsets
PM1_STATUS = 0  # PM1_EVT_BLK: two bytes, each bit cleared by writing 1 (4.8.3.1.1)
PM1_ENABLE = 2  # two bytes (4.8.3.1.2)
PM1_CONTROL = 4  # PM1_CNT_BLK: two bytes (4.8.3.2.1)
RESET = 6  # RESET_REG (4.8.3.6)

WAK_STS = 0x8000  # PM1_STATUS: the machine has returned from sleep
SCI_EN = 0x0001  # PM1_CONTROL: ACPI mode; always on, because there is no SMI command to turn it on
SLP_EN = 0x2000  # PM1_CONTROL: go to sleep now; reads as 0
SLP_TYP_SHIFT = 10  # PM1_CONTROL bits 12-10


class ACPIState(State):
    """The three blocks."""

    status: bytes = octets(2, 2)
    enable: bytes = octets(2, 2)
    control: bytes = octets(2, 2)


class ACPI(ISADevice):
    """Power-off and reset, as the FADT and the DSDT describe them."""

    registers = tuple(range(7))

    state_class = ACPIState

    def clear(self) -> None:
        self._status = bytearray(2)
        self._enable = bytearray(2)
        self._control = bytearray((SCI_EN, 0))

    def peek(self, offset: int) -> int | None:
        match offset:
            case 0 | 1:
                return self._status[offset - PM1_STATUS]
            case 2 | 3:
                return self._enable[offset - PM1_ENABLE]
            case 4 | 5:
                return self._control[offset - PM1_CONTROL]
            case _:
                return 0

    def store(self, offset: int, value: int) -> None:
        match offset:
            case 0 | 1:
                self._status[offset - PM1_STATUS] &= ~value
            case 2 | 3:
                self._enable[offset - PM1_ENABLE] = value
            case 4:
                self._control[0] = value | SCI_EN
            case 5:
                self._control[1] = value & ~(SLP_EN >> 8)
                if value & SLP_EN >> 8:
                    self._sleep(value << 8 >> SLP_TYP_SHIFT & 7)
            case 6 if value == layout.ACPI_RESET_VALUE:
                self.end("reset", None)

    def _sleep(self, kind: int) -> None:
        if kind == layout.S5_SLEEP_TYPE:
            self.end("poweroff", None)
        else:
            self._status[1] |= WAK_STS >> 8  # a state that the DSDT does not offer: wake at once
