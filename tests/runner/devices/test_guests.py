"""Devices as a guest sees them on KVM, where the loop, the bus and the interrupt controllers have a part in it."""

import pytest

pytestmark = pytest.mark.kvm

SERIAL, DEBUG = {"kind": "serial", "input": "none"}, {"kind": "debug-port"}


def test_devices_print_in_the_order_of_the_guest(run_guest, assemble):
    letters = "".join(
        f"mov ${byte}, %al\n" + ("out %al, %dx\n" if device == "serial" else "out %al, $0xe9\n")
        for device, byte in (("serial", 65), ("debug", 49), ("serial", 66), ("debug", 50), ("serial", 10))
    )
    result = run_guest(
        assemble(f"mov $0x3f8, %dx\n{letters}hlt"),
        devices=[SERIAL, DEBUG],
        expect={"console": ["A", "1", "B", "2"], "exit": "halt"},
    )
    assert (result.console, result.status) == (b"A1B2\n", 0)


# A device whose every access Python answers.
TELLER = """
from runner.devices import Device


class Teller(Device):
    def write(self, offset, size, value):
        self.output(bytes((value,)))
"""


def test_python_answered_output_keeps_the_order_of_the_guest(run_guest, assemble):
    own = {"kind": "python", "class": "teller:Teller", "port": [0x300, 1]}
    source = "mov $0x300, %dx\nmov $0x41, %al\n"
    source += "out %al, $0xe9\ninc %al\nout %al, %dx\ninc %al\n" * 3 + "hlt"
    result = run_guest(assemble(source), devices=[DEBUG, own], files={"teller.py": TELLER})
    assert result.console == b"ABCDEF"


# Two registers of a byte, and no more.
MODEL = """
from runner.devices import Device


class Model(Device):
    def __init__(self):
        self.data = bytearray(2)

    def read(self, offset, size):
        return sum(self.data[offset + at] << 8 * at for at in range(size))

    def write(self, offset, size, value):
        for at in range(size):
            self.data[offset + at] = value >> 8 * at & 0xFF
"""


@pytest.mark.parametrize("where", ["port", "mmio"])
def test_an_access_past_a_claim_is_split(run_guest, assemble, where):
    """A dword from the second of two registers on: the rest is nobody's."""
    own = {"kind": "python", "class": "model:Model"} | {where: [0x300, 2] if where == "port" else [0xD0000000, 2]}
    if where == "port":
        source = "mov $0x301, %dx\nmov $0x44434241, %eax\nout %eax, %dx\nxor %eax, %eax\nin %dx, %eax\n"
    else:
        source = "movl $0x44434241, 0xd0000001\nmov 0xd0000001, %eax\n"
    source += "out %al, $0xe9\nshr $8, %eax\ninc %al\nadd $0x30, %al\nout %al, $0xe9\nhlt"
    result = run_guest(
        assemble(source, bits=16 if where == "port" else 32, origin=0x1000 if where == "port" else 0x100000),
        boot={} if where == "port" else {"mode": "protected"},
        vm={} if where == "port" else {"memory": "2MiB"},
        devices=[DEBUG, own],
        files={"model.py": MODEL},
    )
    assert (result.kind, result.console) == ("halt", b"A0")
