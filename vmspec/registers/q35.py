"""The functions of Intel's chipset Q35 that UEFI firmware looks for: the memory controller hub (data sheet 317966, 5.1)
and the LPC bridge of its I/O controller hub ICH9 (data sheet 316972, 13.1, 13.8.3)."""

INTEL = 0x8086
MCH = 0x29C0  # device id of the host bridge, 00:00.0
LPC = 0x2918  # device id of the LPC bridge, 00:1f.0
LPC_DEVICE = 0x1F
ISA_BRIDGE = 0x060100  # class code: bridge, ISA

# The host bridge's configuration space
PCIEXBAR = 0x60  # 8 bytes: where configuration space lies in memory, and whether
PCIEXBAR_ENABLE = 1 << 0
PAM, PAMS = 0x90, 7  # bytes: which parts below 1 MiB are RAM
PAM_RAM = b"\x30" + b"\x33" * (PAMS - 1)  # for reading and writing; the first byte has only one part

# The LPC bridge's configuration space
PMBASE = 0x40  # 4 bytes: the ports of the power management block
PMBASE_IO = 1 << 0
ACPI_CNTL = 0x44
ACPI_EN = 1 << 7
PIRQ, PIRQ2, PIRQS = 0x60, 0x68, 4  # bytes: which ISA interrupt each of PIRQA to PIRQD, PIRQE to PIRQH is
PIRQ_OFF, PIRQ_BITS = 0x80, 0x8F
RCBA, RCBA_BITS = 0xF0, 0xFFFFC001  # 4 bytes: where the root complex's registers lie, which it does not have

# The reset control register, port 0xcf9: within the port of configuration mechanism 1 (13.7.5)
RESET_CONTROL = 1  # offset there
RESET_CPU = 1 << 2

# The power management timer, port PMBASE + 8
TIMER_HZ = 3_579_545
TIMER_SIZE = 4  # bytes
TIMER = (1 << 24) - 1  # its bits
