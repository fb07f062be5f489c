"""The PC's keyboard controller (Intel 8042 with IBM's firmware; IBM PS/2 Hardware Interface Technical Reference,
"Keyboard and Auxiliary Device Controller").

It provides the reset line, and lets a guest's probe for keyboard and mouse end at once. The keyboard acknowledges every
command, and no key is ever pressed. The auxiliary port answers its test with "clock line stuck low", so a guest learns
without a timeout that there is no mouse.
"""

from collections import deque
from types import MappingProxyType

from runner.devices.isa import ISADevice
from runner.devices.state import State, bits, number, octets, one_of
from vmspec.registers import i8042 as R

# Of the status, INPUT_FULL is always 0: the controller takes every byte at once. Of the output port, A20 is stored
# without effect: the guest's address line 20 is always on.

# Of the output port: the clock and data lines of the keyboard and of the auxiliary device. High from the start, as in
# QEMU.
HIGH = 0xCC
INPUT_PORT = 0x80  # the keyboard is not locked

KEYBOARD_ID = (0xAB, 0x83)  # MF2; the second byte becomes 0x41 in translation
TRANSLATED_ID = (0xAB, 0x41)
SCAN_CODE_SETS = {1: 0x43, 2: 0x41, 3: 0x3F}  # their numbers with translation

# Bytes that the keyboard buffers at most.
KEYBOARD_BUFFER = 16


class I8042State(State):
    """Registers, and the keyboard's answers that wait."""

    command_byte: int = bits(0xFF)
    output_port: int = bits(0xFF)
    status: int = bits(R.OUTPUT_FULL | R.SYSTEM_FLAG | R.COMMAND_LAST | R.NOT_INHIBITED)
    data: int = bits(0xFF)
    keyboard: bytes = octets(KEYBOARD_BUFFER)
    awaiting: int | None = one_of(None, *R.WITH_PARAMETER)
    keyboard_awaiting: int | None = one_of(None, *R.KEYBOARD_WITH_PARAMETER)
    scan_code_set: int = number(1, 3)
    said: int = bits(0xFF)


class I8042(ISADevice):
    """Controller and keyboard; ``irq`` is the keyboard's, IRQ 1."""

    registers = (R.DATA, R.STATUS)
    regions = MappingProxyType({"data": R.DATA, "command": R.COMMAND})

    state_class = I8042State

    def __init__(self) -> None:
        self._line = False

    def clear(self) -> None:
        self._command_byte = (
            R.KEYBOARD_INTERRUPT | R.SYSTEM_FLAG | R.AUXILIARY_DISABLED | R.TRANSLATE
        )  # as firmware leaves it
        self._output_port = R.NOT_RESET | R.A20 | HIGH
        self._status = R.SYSTEM_FLAG | R.NOT_INHIBITED
        self._data = 0
        self._keyboard: deque[int] = deque()  # answers that wait
        self._awaiting: int | None = None  # the controller command whose parameter comes next at DATA
        self._keyboard_awaiting: int | None = None  # the same for a keyboard command
        self._scan_code_set = 2
        self._said = R.SELF_TEST_PASSED  # by the keyboard, last

    def peek(self, offset: int) -> int | None:
        if offset == R.STATUS:
            return self._status
        return None if self._status & R.OUTPUT_FULL else self._data

    def fetch(self, offset: int) -> int:
        value = self._data
        self._status &= ~R.OUTPUT_FULL
        self.drive()  # low between two bytes, so that each of them gives an edge
        return value

    def store(self, offset: int, value: int) -> None:
        if offset == R.COMMAND:
            self._status |= R.COMMAND_LAST
            self._awaiting = None
            self._command(value)
            return
        self._status &= ~R.COMMAND_LAST
        command, self._awaiting = self._awaiting, None
        match command:
            case None:
                self._keyboard_command(value)
            case R.WRITE_COMMAND_BYTE:
                self._command_byte = value
                self._status = self._status & ~R.SYSTEM_FLAG | value & R.SYSTEM_FLAG
            case R.WRITE_OUTPUT_PORT:
                self._output_port = value & ~R.OUTPUT_FULL_PIN
                if not value & R.NOT_RESET:
                    self.end("reset", None)
            case R.WRITE_KEYBOARD_OUTPUT:
                self._answer(value)
            case R.WRITE_AUXILIARY_OUTPUT:
                # The command makes the byte return as the auxiliary device's. Without that device it returns as the
                # keyboard's, from which Linux knows at once that the port is missing (drivers/input/serio/i8042.c).
                self._answer(value)
            case _:
                pass  # to the auxiliary device, which does not exist

    def _command(self, value: int) -> None:
        match value:
            case R.READ_COMMAND_BYTE:
                self._answer(self._command_byte)
            case _ if value in R.WITH_PARAMETER:
                self._awaiting = value
            case R.DISABLE_AUXILIARY:
                self._command_byte |= R.AUXILIARY_DISABLED
            case R.ENABLE_AUXILIARY:
                self._command_byte &= ~R.AUXILIARY_DISABLED
            case R.TEST_AUXILIARY:
                self._answer(0x01)  # clock line stuck low
            case R.SELF_TEST:
                self._status |= R.SYSTEM_FLAG
                self._answer(0x55)  # passed
            case R.TEST_KEYBOARD:
                self._answer(0x00)  # no error
            case R.DISABLE_KEYBOARD:
                self._command_byte |= R.KEYBOARD_DISABLED
            case R.ENABLE_KEYBOARD:
                self._command_byte &= ~R.KEYBOARD_DISABLED
            case R.READ_INPUT_PORT:
                self._answer(INPUT_PORT)
            case R.READ_OUTPUT_PORT:
                full = R.OUTPUT_FULL_PIN if self._status & R.OUTPUT_FULL else 0
                self._answer(self._output_port | full)
            case R.DISABLE_A20:
                self._output_port &= ~R.A20
            case R.ENABLE_A20:
                self._output_port |= R.A20
            case _ if value >= R.PULSE and not value & R.NOT_RESET:
                self.end("reset", None)

    def _answer(self, value: int) -> None:
        """Put the controller's own answer into the output buffer, over its old contents."""
        self._data = value
        self._status |= R.OUTPUT_FULL

    def _keyboard_command(self, value: int) -> None:
        command, self._keyboard_awaiting = self._keyboard_awaiting, None
        if command == R.SCAN_CODE_SET and value < R.SET_LEDS:
            self._keyboard.append(R.ACKNOWLEDGE if value <= 3 else R.RESEND)
            if value == 0:
                number = self._scan_code_set
                self._keyboard.append(SCAN_CODE_SETS[number] if self._command_byte & R.TRANSLATE else number)
            elif value <= 3:
                self._scan_code_set = value
            return
        if command is not None and value < R.SET_LEDS:  # no command, but the parameter of one
            self._keyboard.append(R.ACKNOWLEDGE)
            return
        match value:
            case _ if value in R.KEYBOARD_WITH_PARAMETER:
                self._keyboard_awaiting = value
                self._keyboard.append(R.ACKNOWLEDGE)
            case R.ECHO:
                self._keyboard.append(R.ECHO)
            case R.IDENTIFY:
                translate = self._command_byte & R.TRANSLATE
                self._keyboard.extend((R.ACKNOWLEDGE, *(TRANSLATED_ID if translate else KEYBOARD_ID)))
            case R.RESET:
                self._scan_code_set = 2
                self._keyboard.clear()
                self._keyboard.extend((R.ACKNOWLEDGE, R.SELF_TEST_PASSED))
            case R.RESEND:
                self._keyboard.append(self._said)
            case _ if value >= R.ENABLE:
                self._keyboard.append(R.ACKNOWLEDGE)
            case _:
                self._keyboard.append(R.RESEND)  # not a command

    def settle(self) -> None:
        while len(self._keyboard) > KEYBOARD_BUFFER:
            self._keyboard.pop()
        if self._keyboard and not self._status & R.OUTPUT_FULL and not self._command_byte & R.KEYBOARD_DISABLED:
            self._said = self._keyboard.popleft()
            self._answer(self._said)

    def drive(self) -> None:
        line = bool(self._status & R.OUTPUT_FULL and self._command_byte & R.KEYBOARD_INTERRUPT)
        if line != self._line:
            self._line = line
            self.irq.set(line)
