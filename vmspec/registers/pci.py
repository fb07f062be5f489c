"""PCI (PCI Local Bus Specification 3.0): configuration mechanism 1, a function's header, the MSI-X capability; and the
addresses of configuration space as PCI Express has them (PCI Express 4.0, 7.2.2).
"""

# Configuration mechanism 1 (3.2.2.3.2): a register that selects, and a window onto what it has selected
ADDRESS_PORT = 0xCF8
DATA_PORT = 0xCFC
PORTS = 4  # of each
ENABLE = 1 << 31
ADDRESS = 0x80FFFFFC  # the bits that can be written

# Addresses in configuration space: bus, device, function, register
BUS, DEVICE, FUNCTION = 20, 15, 12  # their first bits
DEVICES = 32  # of a bus
CONFIGURATION_SIZE = 256  # of a function without PCI Express capabilities

# The header of a function (6.1): offsets
VENDOR_ID = 0x00
DEVICE_ID = 0x02
COMMAND = 0x04
STATUS = 0x06
REVISION_ID = 0x08
CLASS_CODE = 0x09  # three bytes: interface, subclass, base class
HEADER_TYPE = 0x0E
BAR = 0x10  # the first of six
BARS = 6
SUBSYSTEM_VENDOR_ID = 0x2C
SUBSYSTEM_ID = 0x2E
CAPABILITIES = 0x34
INTERRUPT_LINE = 0x3C
INTERRUPT_PIN = 0x3D
HEADER_SIZE = 0x40

# Command (6.2.2)
IO_SPACE = 0x0001
MEMORY_SPACE = 0x0002
BUS_MASTER = 0x0004
INTX_OFF = 0x0400

# Status (6.2.3)
INTERRUPT_STATUS = 0x0008
CAPABILITIES_LIST = 0x0010

# Base address registers (6.2.5.1)
IO_BAR = 0x1  # the type bits of one in the I/O space; of one in 32-bit memory they are 0

INTA = 1  # interrupt pin (6.2.4)
NO_LINE = 0xFF  # interrupt line: not connected

# Capabilities (appendix H)
VENDOR_SPECIFIC = 0x09
MSIX = 0x11

# The MSI-X capability (6.8.2): offsets from its start, bits, and the table's entries
MSIX_CONTROL = 0x02
MSIX_TABLE = 0x04  # each of these two: an offset, and in the lowest three bits the number of a base address register
MSIX_PENDING = 0x08
MSIX_SIZE = 12
MSIX_ENABLE = 0x8000
MSIX_MASK = 0x4000  # all vectors of the function
VECTOR_SIZE = 16  # message address (8 bytes), message data (4), vector control (4)
VECTOR_MASK = 1

# vmrun's functions have the MSI-X capability first.
MSIX_AT = HEADER_SIZE

# The host bridge: the ids of QEMU's PCI Express host bridge, to which no driver binds and for which Linux has no quirk.
HOST_VENDOR, HOST_DEVICE = 0x1B36, 0x0008
HOST_BRIDGE = 0x060000  # class code: bridge, host
