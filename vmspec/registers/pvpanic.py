"""pvpanic, QEMU's device by which a guest reports its own crash (QEMU, docs/specs/pvpanic.rst): one port.

Reading returns the events that the device takes, writing reports some.
"""

PORT = 0x505  # by default
HID = "QEMU0001"  # the ACPI id that Linux's driver binds to (drivers/misc/pvpanic/pvpanic-mmio.c)

PANICKED = 1 << 0
CRASHLOADED = 1 << 1  # the guest has crashed, and goes on with its crash kernel
SHUTDOWN = 1 << 2  # the guest shuts down in order
EVENTS = PANICKED | CRASHLOADED | SHUTDOWN
