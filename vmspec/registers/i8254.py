"""The PC's timer, an Intel 8254 (data sheet, "Programming the 8254"), and port 0x61, which has counter 2's gate and
output (Intel 82371SB data sheet, 2.5.5)."""

PORT = 0x40
SPEAKER_PORT = 0x61
IRQ = 0  # counter 0's output
HZ = 1193182  # the input of all counters

# Registers, numbered as the model numbers them; the first three are the counters
CONTROL = 3
SPEAKER = 4

# A control word
COUNTER = 6  # its position; READ_BACK is a command
READ_BACK = 3
ACCESS = 4  # its position
LATCH, LOW, HIGH, BOTH = range(4)
MODE = 1  # its position
BCD = 0x01

# The read-back command
NO_COUNT = 0x20
NO_STATUS = 0x10

# A counter's status
OUT = 0x80
NULL_COUNT = 0x40  # no count has been loaded

# Port 0x61
GATE2 = 0x01
SPEAKER_DATA = 0x02
WRITABLE = 0x0F
REFRESH = 0x10  # toggles with each refresh of the memory
OUT2 = 0x20
REFRESH_PERIOD = 15085  # ns: counter 1's on a PC
