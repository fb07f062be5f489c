"""Flash memory with Intel's command set (28F256J3 data sheet, table 14; JEDEC JEP137, command set 01), 8 bits wide, as
QEMU has it for firmware (hw/block/pflash_cfi01.c). Commands are written anywhere in the memory."""

READ_ARRAY = 0xFF
READ_IDENTIFIER = 0x90
READ_STATUS = 0x70
CLEAR_STATUS = 0x50
PROGRAM, PROGRAM_OLD = 0x40, 0x10  # the next write is the byte to program
ERASE, CONFIRM = 0x20, 0xD0  # the next write confirms, and is in the block to erase
NAMES = {
    READ_ARRAY: "read array", READ_IDENTIFIER: "read identifier", READ_STATUS: "read status",
    CLEAR_STATUS: "clear status", PROGRAM: "program", PROGRAM_OLD: "program", ERASE: "erase", CONFIRM: "confirm",
}  # fmt: skip

# Status. QEMU's, unlike the data sheet's, is not ready after it was cleared: OVMF recognises flash memory by that.
READY = 1 << 7
ERASE_ERROR = 1 << 5
PROGRAM_ERROR = 1 << 4  # with the other one: a wrong sequence of commands

MANUFACTURER, DEVICE = 0x89, 0x18  # what addresses 0 and 1 of the identifier read as

BLOCK = 4096  # bytes that are erased at once
ERASED = 0xFF
