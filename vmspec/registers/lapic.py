"""The local APIC's page: Intel SDM volume 3, table 11-1 and 11.5.1."""

# Offsets
LVT_LINT0 = 0x350
LVT_LINT1 = 0x360

# An entry of the local vector table
VECTOR = 0xFF
MODE = 0x700  # how the interrupt is delivered
MODE_NMI = 0x400
MODE_EXTINT = 0x700
MASKED = 1 << 16
