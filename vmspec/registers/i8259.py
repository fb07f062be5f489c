"""The PC's pair of interrupt controllers: Intel 8259A data sheet, "Programming the 8259A"; their edge/level registers:
Intel 82371SB (PIIX3) data sheet, 2.5.6."""

MASTER_PORT = 0x20
SLAVE_PORT = 0xA0
EDGE_LEVEL_PORT = 0x4D0
CASCADE = 2  # the master's input that the slave drives

# Registers, numbered as the model numbers them
MASTER_COMMAND, MASTER_MASK, SLAVE_COMMAND, SLAVE_MASK, MASTER_EDGE_LEVEL, SLAVE_EDGE_LEVEL = range(6)

# A write of COMMAND with this bit begins the initialisation; ICW2 to ICW4 follow at MASK
ICW1 = 0x10
ICW1_SINGLE = 0x02  # no ICW3 follows
ICW1_ICW4 = 0x01  # ICW4 follows
ICW2_BASE = 0xF8  # of the vectors
ICW4_NESTED = 0x10  # special fully nested mode
ICW4_AUTO_EOI = 0x02

# A write of COMMAND with this bit, and without ICW1, is OCW3; without both it is OCW2
OCW3 = 0x08
OCW3_SPECIAL_SET = 0x40  # SPECIAL has the special mask mode
OCW3_SPECIAL = 0x20
OCW3_POLL = 0x04
OCW3_READ = 0x02  # READ_ISR says which register COMMAND shows
OCW3_READ_ISR = 0x01

# OCW2
ROTATE = 0x80
SPECIFIC = 0x40
EOI = 0x20
LINE = 0x07

POLLED = 0x80  # the answer to a poll: an interrupt was waiting; LINE is its number

# Inputs that are always edges: the timer, the keyboard, the cascade, the clock and the coprocessor
ALWAYS_EDGES = (0b00000111, 0b00100001)
