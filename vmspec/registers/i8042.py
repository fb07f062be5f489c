"""The PC's keyboard controller, an Intel 8042 with IBM's firmware, and its keyboard.

IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" and "Keyboards (101- and
102-key)".
"""

DATA_PORT = 0x60
COMMAND_PORT = 0x64
IRQ = 1

# Registers, numbered from port 0x60
DATA = 0
STATUS = COMMAND = 4  # status (read), command (write): port 0x64

# Status register
OUTPUT_FULL = 0x01  # a byte waits at DATA
INPUT_FULL = 0x02  # a byte waits for the controller
SYSTEM_FLAG = 0x04  # the self-test has passed; writing the command byte sets it too
COMMAND_LAST = 0x08  # the last write went to COMMAND, not DATA
NOT_INHIBITED = 0x10  # the keyboard is not locked
AUXILIARY_FULL = 0x20  # the byte at DATA is the auxiliary device's
TIMEOUT = 0x40
PARITY_ERROR = 0x80

# Command byte
KEYBOARD_INTERRUPT = 0x01
AUXILIARY_INTERRUPT = 0x02
# 0x04 is SYSTEM_FLAG
IGNORE_LOCK = 0x08
KEYBOARD_DISABLED = 0x10
AUXILIARY_DISABLED = 0x20
TRANSLATE = 0x40  # scan codes are translated into set 1

# Output port
NOT_RESET = 0x01  # 0 resets the machine
A20 = 0x02
OUTPUT_FULL_PIN = 0x10

# Commands of the controller
READ_COMMAND_BYTE = 0x20
WRITE_COMMAND_BYTE = 0x60
DISABLE_AUXILIARY = 0xA7
ENABLE_AUXILIARY = 0xA8
TEST_AUXILIARY = 0xA9
SELF_TEST = 0xAA
TEST_KEYBOARD = 0xAB
DISABLE_KEYBOARD = 0xAD
ENABLE_KEYBOARD = 0xAE
READ_INPUT_PORT = 0xC0
READ_OUTPUT_PORT = 0xD0
WRITE_OUTPUT_PORT = 0xD1
WRITE_KEYBOARD_OUTPUT = 0xD2  # as if the keyboard had sent it
WRITE_AUXILIARY_OUTPUT = 0xD3  # as if the auxiliary device had
WRITE_TO_AUXILIARY = 0xD4
DISABLE_A20 = 0xDD  # of HP's controller and of those that followed it
ENABLE_A20 = 0xDF
PULSE = 0xF0  # the first of sixteen: bits 3-0 that are 0 pulse a line of the output port
PULSE_RESET = 0xFE  # the usual one of them
# Those that a parameter follows at DATA
WITH_PARAMETER = (
    WRITE_COMMAND_BYTE,
    WRITE_OUTPUT_PORT,
    WRITE_KEYBOARD_OUTPUT,
    WRITE_AUXILIARY_OUTPUT,
    WRITE_TO_AUXILIARY,
)

# Commands of the keyboard
SET_LEDS = 0xED
ECHO = 0xEE
SCAN_CODE_SET = 0xF0
IDENTIFY = 0xF2
TYPEMATIC_RATE = 0xF3
ENABLE = 0xF4
DISABLE = 0xF5
DEFAULTS = 0xF6
ALL_TYPEMATIC = 0xF7  # these four set all keys
ALL_MAKE_BREAK = 0xF8
ALL_MAKE = 0xF9
ALL_TYPEMATIC_MAKE_BREAK = 0xFA
KEY_TYPEMATIC = 0xFB  # these three set those that follow
KEY_MAKE_BREAK = 0xFC
KEY_MAKE = 0xFD
RESEND = 0xFE  # and the keyboard's for "say that again"
RESET = 0xFF
KEYBOARD_WITH_PARAMETER = (SET_LEDS, SCAN_CODE_SET, TYPEMATIC_RATE)

# What the keyboard answers
ACKNOWLEDGE = 0xFA
SELF_TEST_PASSED = 0xAA
SELF_TEST_FAILED = 0xFC
