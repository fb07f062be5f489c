"""pvpanic: the guest's own report of its crash."""

import pytest

from runner.devices.pvpanic import Pvpanic
from vmspec.registers.pvpanic import CRASHLOADED, EVENTS, PANICKED, PORT, SHUTDOWN

CRASHED = "the guest has crashed, and continues with its crash kernel (pvpanic)"


@pytest.fixture
def notices():
    return []


@pytest.fixture
def device(plug, notices):
    return plug(Pvpanic(notices.append), region="port")


def test_a_guest_finds_the_events(device):
    assert device.read(0) == device.device.read("port", 0, 1) == EVENTS == 7


@pytest.mark.parametrize(
    ("events", "ends", "noticed"),
    [
        (PANICKED, [("guest-panic", None)], 0),
        (PANICKED | CRASHLOADED, [("guest-panic", None)], 0),
        (CRASHLOADED, [], 1),
        (SHUTDOWN, [("poweroff", None)], 0),
        (0, [], 0),
        (0xF8, [], 0),
    ],
)
def test_what_a_guest_reports(device, notices, events, ends, noticed):
    device.write(0, events)
    assert (device.ends, notices) == (ends, [CRASHED] * noticed)


@pytest.mark.kvm
def test_a_panic_ends_the_run_with_a_crash_report(run_guest):
    code = b"\xba" + PORT.to_bytes(2, "little") + b"\xec\xb0\x01\xee\xf4"  # mov dx, port; in al, dx; mov al, 1; out
    result = run_guest(code, boot={"mode": "real"}, devices=[{"kind": "pvpanic"}])
    assert (result.kind, result.status) == ("guest-panic", 4)
    assert "vCPU 0: the guest reported its own crash to pvpanic0" in result.report
    assert f"io write {PORT:#x} size 1 data 0x1 pvpanic0" in result.report
