"""fw_cfg, QEMU's device by which firmware reads how its machine is made (QEMU, docs/specs/fw_cfg.rst): items of bytes
by number, read through a port or into memory. And the script by which it builds the ACPI tables (QEMU,
hw/acpi/bios-linker-loader.c)."""

SELECTOR_PORT, DATA_PORT, DMA_PORT = 0x510, 0x511, 0x514
HID = "QEMU0002"  # the ACPI id that Linux's driver binds to (drivers/firmware/qemu_fw_cfg.c)

# Offsets in the region of the first two ports, and in that of the address.
SELECTOR, DATA = 0, 1
HIGH, LOW = 0, 4  # halves of the address of a transfer's structure, big-endian; writing the low one begins it
PRESENT = b"QEMU CFG"  # what the address reads as

# Keys of items
WRITE = 1 << 14  # in a key: without effect
SIGNATURE, ID, RAM_SIZE, NO_GRAPHIC, CPUS, CPUS_MAX, FILES = 0x00, 0x01, 0x03, 0x04, 0x05, 0x0F, 0x19
KERNEL_ADDRESS, KERNEL_SIZE, KERNEL = 0x07, 0x08, 0x11
INITRD_ADDRESS, INITRD_SIZE, INITRD = 0x0A, 0x0B, 0x12
CMDLINE_ADDRESS, CMDLINE_SIZE, CMDLINE = 0x13, 0x14, 0x15
SETUP_ADDRESS, SETUP_SIZE, SETUP = 0x16, 0x17, 0x18
FIRST_FILE = 0x20
NAMES = {
    SIGNATURE: "signature", ID: "id", RAM_SIZE: "RAM size", NO_GRAPHIC: "no graphic", CPUS: "CPUs",
    CPUS_MAX: "most CPUs", FILES: "files", KERNEL_ADDRESS: "kernel address", KERNEL_SIZE: "kernel size",
    KERNEL: "kernel", INITRD_ADDRESS: "initrd address", INITRD_SIZE: "initrd size", INITRD: "initrd",
    CMDLINE_ADDRESS: "cmdline address", CMDLINE_SIZE: "cmdline size", CMDLINE: "cmdline",
    SETUP_ADDRESS: "setup address", SETUP_SIZE: "setup size", SETUP: "setup",
}  # fmt: skip

SIGNED = b"QEMU"
BY_PORT, BY_DMA = 1 << 0, 1 << 1  # bits of the item ID

# The directory: a count, then for each file its size, key, and name, big-endian
COUNT, FILE = ">I", ">IHxx56s"
NAME_MOST = 55  # bytes, and a NUL
FILES_MOST = 64

# A transfer's structure, big-endian: control, length, address. The key to select is in the control's upper half.
TRANSFER = ">IIQ"
ERROR, READ, SKIP, SELECT, PUT = (1 << bit for bit in range(5))

# Files with a meaning of their own
E820, E820_ENTRY = "etc/e820", "<QQI"
SERIAL_CONSOLE = "etc/sercon-port"  # SeaBIOS: the port of a serial console
TABLES, RSDP, SCRIPT = "etc/acpi/tables", "etc/acpi/rsdp", "etc/table-loader"
OWN = (E820, SERIAL_CONSOLE, TABLES, RSDP, SCRIPT)

# Commands of the script, each of 128 bytes: place a file (alignment, zone); add a file's address to a number in another
# (offset, size); make the sum of a range 0 (offset of the checksum, start, length)
STEP = 128
PLACE, POINT, SUM = "<I56sIB", "<I56s56sIB", "<I56sIII"
PLACING, POINTING, SUMMING = 1, 2, 3
ANYWHERE, BELOW_1_MIB = 1, 2
