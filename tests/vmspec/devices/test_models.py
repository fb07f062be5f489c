import pytest

from vmspec.devices.models import ACPI, I8042, RTC, DebugExit, DebugPort, PostPort, Python, Range, Serial


@pytest.mark.parametrize(("com", "port", "irq"), [(1, 0x3F8, 4), (2, 0x2F8, 3), (3, 0x3E8, 4), (4, 0x2E8, 3)])
def test_serial_ports_are_the_pcs(com, port, irq):
    serial = Serial(com=com)
    assert (serial.ranges(), serial.irq) == ((Range("port", port, 8),), irq)


@pytest.mark.parametrize(
    ("device", "ranges", "irq"),
    [
        (I8042(), (Range("port", 0x60, 1), Range("port", 0x64, 1)), 1),
        (RTC(), (Range("port", 0x70, 2),), 8),
        (ACPI(), (Range("port", 0x600, 8),), 9),
        (DebugPort(), (Range("port", 0xE9, 1),), None),
        (DebugPort(port=0x402), (Range("port", 0x402, 1),), None),
        (PostPort(), (Range("port", 0x80, 1),), None),
        (DebugExit(port=0x501, size=2), (Range("port", 0x501, 2),), None),
        (Python("m:C", port=(0x510, 3), irq=5), (Range("port", 0x510, 3),), 5),
        (Python("m:C", mmio=(0xD0000000, 4096)), (Range("mmio", 0xD0000000, 4096),), None),
    ],
)
def test_a_device_says_what_it_claims(device, ranges, irq):
    assert (device.ranges(), device.irq) == (ranges, irq)
