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

# Registers, numbered from port 0x60
DATA = 0
STATUS = COMMAND = 4  # status (read), command (write): port 0x64

# Status register
OUTPUT_FULL = 0x01  # a byte waits at DATA
SYSTEM_FLAG = 0x04  # the self-test has passed
COMMAND_LAST = 0x08  # the last write went to COMMAND, not DATA
NOT_INHIBITED = 0x10  # the keyboard is not locked
# Bit 1, input buffer full, is always 0: the controller takes every byte at once. Bit 5, output from the auxiliary
# device, is always 0 too.

# Command byte, read and written by commands 0x20 and 0x60
KEYBOARD_INTERRUPT = 0x01
KEYBOARD_DISABLED = 0x10
AUXILIARY_DISABLED = 0x20
TRANSLATE = 0x40  # scan codes are translated into set 1

# Output port, read and written by commands 0xd0 and 0xd1
NOT_RESET = 0x01  # 0 resets the machine
A20 = 0x02  # stored, without effect: the guest's address line 20 is always on
OUTPUT_FULL_PIN = 0x10
HIGH = 0xCC  # the keyboard's clock and data lines, and two unused pins: high from the start, as in QEMU

INPUT_PORT = 0x80  # read by command 0xc0: the keyboard is not locked

# The keyboard's answers
ACKNOWLEDGE = 0xFA
RESEND = 0xFE
SELF_TEST_PASSED = 0xAA
KEYBOARD_ID = (0xAB, 0x83)  # MF2; the second byte becomes 0x41 in translation
TRANSLATED_ID = (0xAB, 0x41)
SCAN_CODE_SETS = {1: 0x43, 2: 0x41, 3: 0x3F}  # their numbers with translation


# Commands with a parameter at DATA: to the controller, and to the keyboard.
WITH_PARAMETER = (0x60, 0xD1, 0xD2, 0xD3, 0xD4)
KEYBOARD_WITH_PARAMETER = (0xED, 0xF0, 0xF3)
# Bytes that the keyboard buffers at most.
KEYBOARD_BUFFER = 16


class I8042State(State):
    """Registers, and the keyboard's answers that wait."""

    command_byte: int = bits(0xFF)
    output_port: int = bits(0xFF)
    status: int = bits(OUTPUT_FULL | SYSTEM_FLAG | COMMAND_LAST | NOT_INHIBITED)
    data: int = bits(0xFF)
    keyboard: bytes = octets(KEYBOARD_BUFFER)
    awaiting: int | None = one_of(None, *WITH_PARAMETER)
    keyboard_awaiting: int | None = one_of(None, *KEYBOARD_WITH_PARAMETER)
    scan_code_set: int = number(1, 3)
    said: int = bits(0xFF)


class I8042(ISADevice):
    """Controller and keyboard; ``irq`` is the keyboard's, IRQ 1."""

    registers = (DATA, STATUS)
    regions = MappingProxyType({"data": DATA, "command": COMMAND})

    state_class = I8042State

    def __init__(self) -> None:
        self._line = False

    def clear(self) -> None:
        self._command_byte = KEYBOARD_INTERRUPT | SYSTEM_FLAG | AUXILIARY_DISABLED | TRANSLATE  # as firmware leaves it
        self._output_port = NOT_RESET | A20 | HIGH
        self._status = SYSTEM_FLAG | NOT_INHIBITED
        self._data = 0
        self._keyboard: deque[int] = deque()  # answers that wait
        self._awaiting: int | None = None  # the controller command whose parameter comes next at DATA
        self._keyboard_awaiting: int | None = None  # the same for a keyboard command
        self._scan_code_set = 2
        self._said = SELF_TEST_PASSED  # by the keyboard, last

    def peek(self, offset: int) -> int | None:
        if offset == STATUS:
            return self._status
        return None if self._status & OUTPUT_FULL else self._data

    def fetch(self, offset: int) -> int:
        value = self._data
        self._status &= ~OUTPUT_FULL
        self.drive()  # low between two bytes, so that each of them gives an edge
        return value

    def store(self, offset: int, value: int) -> None:
        if offset == COMMAND:
            self._status |= COMMAND_LAST
            self._awaiting = None
            self._command(value)
            return
        self._status &= ~COMMAND_LAST
        command, self._awaiting = self._awaiting, None
        match command:
            case None:
                self._keyboard_command(value)
            case 0x60:
                self._command_byte = value
            case 0xD1:
                self._output_port = value & ~OUTPUT_FULL_PIN
                if not value & NOT_RESET:
                    self.end("reset", None)
            case 0xD2:
                self._answer(value)  # as if the keyboard had sent it
            case 0xD3:
                # The command makes the byte return as the auxiliary device's. Without that device it returns as the
                # keyboard's, from which Linux knows at once that the port is missing (drivers/input/serio/i8042.c).
                self._answer(value)
            case _:
                pass  # 0xd4: to the auxiliary device, which does not exist

    def _command(self, value: int) -> None:
        match value:
            case 0x20:
                self._answer(self._command_byte)
            case _ if value in WITH_PARAMETER:
                self._awaiting = value
            case 0xA7:
                self._command_byte |= AUXILIARY_DISABLED
            case 0xA8:
                self._command_byte &= ~AUXILIARY_DISABLED
            case 0xA9:  # auxiliary port test
                self._answer(0x01)
            case 0xAA:  # controller self-test
                self._status |= SYSTEM_FLAG
                self._answer(0x55)
            case 0xAB:  # keyboard port test: no error
                self._answer(0x00)
            case 0xAD:
                self._command_byte |= KEYBOARD_DISABLED
            case 0xAE:
                self._command_byte &= ~KEYBOARD_DISABLED
            case 0xC0:
                self._answer(INPUT_PORT)
            case 0xD0:
                full = OUTPUT_FULL_PIN if self._status & OUTPUT_FULL else 0
                self._answer(self._output_port | full)
            case 0xDD:
                self._output_port &= ~A20
            case 0xDF:
                self._output_port |= A20
            case _ if value >= 0xF0 and not value & NOT_RESET:
                self.end("reset", None)  # pulses the output port's lines whose bits are 0; usually 0xfe

    def _answer(self, value: int) -> None:
        """Put the controller's own answer into the output buffer, over its old contents."""
        self._data = value
        self._status |= OUTPUT_FULL

    def _keyboard_command(self, value: int) -> None:
        command, self._keyboard_awaiting = self._keyboard_awaiting, None
        if command == 0xF0 and value < 0xED:
            self._keyboard.append(ACKNOWLEDGE if value <= 3 else RESEND)
            if value == 0:
                number = self._scan_code_set
                self._keyboard.append(SCAN_CODE_SETS[number] if self._command_byte & TRANSLATE else number)
            elif value <= 3:
                self._scan_code_set = value
            return
        if command is not None and value < 0xED:
            self._keyboard.append(ACKNOWLEDGE)  # the parameter of 0xed, lights, or 0xf3, repeat rate
            return
        match value:
            case _ if value in KEYBOARD_WITH_PARAMETER:
                self._keyboard_awaiting = value
                self._keyboard.append(ACKNOWLEDGE)
            case 0xEE:  # echo
                self._keyboard.append(0xEE)
            case 0xF2:  # identify
                translate = self._command_byte & TRANSLATE
                self._keyboard.extend((ACKNOWLEDGE, *(TRANSLATED_ID if translate else KEYBOARD_ID)))
            case 0xFF:  # reset
                self._scan_code_set = 2
                self._keyboard.clear()
                self._keyboard.extend((ACKNOWLEDGE, SELF_TEST_PASSED))
            case 0xFE:  # resend
                self._keyboard.append(self._said)
            case _ if value >= 0xF4:
                self._keyboard.append(ACKNOWLEDGE)
            case _:
                self._keyboard.append(RESEND)  # not a command

    def settle(self) -> None:
        while len(self._keyboard) > KEYBOARD_BUFFER:
            self._keyboard.pop()
        if self._keyboard and not self._status & OUTPUT_FULL and not self._command_byte & KEYBOARD_DISABLED:
            self._said = self._keyboard.popleft()
            self._answer(self._said)

    def drive(self) -> None:
        line = bool(self._status & OUTPUT_FULL and self._command_byte & KEYBOARD_INTERRUPT)
        if line != self._line:
            self._line = line
            self.irq.set(line)
