import pytest

from vmspec.devices.isa import ACPI, I8042, RTC, DebugExit, DebugPort, PostPort, Python, Serial
from vmspec.devices.regions import Region


@pytest.mark.parametrize(("com", "port", "irq"), [(1, 0x3F8, 4), (2, 0x2F8, 3), (3, 0x3E8, 4), (4, 0x2E8, 3)])
def test_serial_ports_are_the_pcs(com, port, irq):
    serial = Serial(com=com)
    assert (serial.regions(), serial.irq) == ((Region("registers", "port", 8, port),), irq)


@pytest.mark.parametrize(
    ("device", "regions", "irq"),
    [
        (I8042(), (Region("data", "port", 1, 0x60), Region("command", "port", 1, 0x64)), 1),
        (RTC(), (Region("registers", "port", 2, 0x70),), 8),
        (ACPI(), (Region("registers", "port", 8, 0x600),), 9),
        (DebugPort(), (Region("port", "port", 1, 0xE9),), None),
        (DebugPort(port=0x402), (Region("port", "port", 1, 0x402),), None),
        (PostPort(), (Region("port", "port", 1, 0x80),), None),
        (DebugExit(port=0x501, size=2), (Region("port", "port", 2, 0x501),), None),
        (Python("m:C", port=(0x510, 3), irq=5), (Region("port", "port", 3, 0x510),), 5),
        (Python("m:C", mmio=(0xD0000000, 4096)), (Region("mmio", "mmio", 4096, 0xD0000000),), None),
    ],
)
def test_a_device_says_what_it_claims(device, regions, irq):
    assert (device.regions(), device.irq) == (regions, irq)
