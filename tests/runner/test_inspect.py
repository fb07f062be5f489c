"""The tree of machines that run."""

import json
import time
from pathlib import Path

import pytest

import runner
from runner.cli import main
from runner.machine.machine import Machine
from tests.fakes.flatdriver import DATA, USED, await_word, describe, offer, start
from tests.fakes.processes import eventually

pytestmark = pytest.mark.kvm

SPIN = "eb fe"
# Says "A" to the serial port and reads the clock, without end.
BUSY = "ba f8 03 b0 41 ee ba 70 00 b0 00 ee ba 71 00 ec eb ee"
DEVICES = [{"kind": "serial", "output": "none"}, {"kind": "rtc"}]


@pytest.fixture(autouse=True)
def _sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def guest(write_spec):
    """Starts a machine, and connects to it."""
    opened = []

    def begin(code, **spec):
        opened.append(runner.start(write_spec(code, **spec), control="guest"))
        opened.append(runner.connect("guest"))
        return opened[1]

    yield begin
    if len(opened) == 2:
        opened[1].close()
        opened[0].stop()
        opened[0].result(60)


def command(capsys, *words):
    status = main([*words])
    return status, *capsys.readouterr()


def test_a_machine_is_a_tree(guest):
    control = guest(BUSY, devices=DEVICES, vm={"memory": "2MiB", "vcpus": 2})
    tree = control.inspect()
    assert list(tree) == ["machine", "vcpus", "memory", "devices", "counters"]
    assert (tree["machine"]["name"], tree["machine"]["state"], tree["memory"]["ram"]) == ("guest", "running", 2 << 20)
    assert list(tree["vcpus"]) == ["0", "1"]
    assert tree["devices"]["serial0"]["regions"]["registers"]["start"] == "0x00000000000003f8"
    assert tree["devices"]["serial0"]["irq"] == 4
    json.dumps(tree)


def test_registers_are_those_of_the_moment(guest, assemble):
    control = guest(assemble("mov $0x1234, %bx\n1: jmp 1b"))
    eventually(lambda: control.inspect("vcpus/0/registers/rbx") == "0x0000000000001234", "the guest has not run")
    registers = control.inspect("vcpus/0/registers")
    assert (registers["mode"], registers["rip"]) == ("real mode, 16-bit", "0x0000000000001003")
    assert registers["segments"]["cs"] == {
        "selector": "0x0000", "base": "0x0000000000000000", "limit": "0x0000ffff", "type": "0x0b", "dpl": 0,
        "present": True,
    }  # fmt: skip


def test_the_mode_is_told(guest):
    control = guest(SPIN, boot={"mode": "long"}, vm={"memory": "4MiB"})
    registers = control.inspect("vcpus/0/registers")
    assert registers["mode"] == "long mode, 64-bit code, paging on, CPL 0"
    assert int(registers["cr0"], 16) >> 31 == 1


def test_code_is_named_by_the_specs_symbols(guest, tmp_path):
    (tmp_path / "System.map").write_text("0000000000000f00 T before\n0000000000001000 T spin\n0000000000002000 T end\n")
    control = guest(SPIN, boot={"symbols": "System.map"})
    assert control.inspect("vcpus/0/registers/in") == "spin+0x0"


def test_devices_have_their_registers(guest, assemble):
    # Interrupts of received data on, 8 bits, DTR.
    code = """
        mov $0x3f9, %dx; mov $1, %al; out %al, %dx
        mov $0x3fb, %dx; mov $3, %al; out %al, %dx
        mov $0x3fc, %dx; mov $1, %al; out %al, %dx
     1: jmp 1b
    """
    control = guest(assemble(code), devices=DEVICES)
    eventually(lambda: control.inspect("devices/serial0/state/mcr") == "0x01", "the guest has not run")
    state = control.inspect("devices/serial0/state")
    assert (state["ier"], state["lcr"], state["fifo"]) == ("0x01", "0x03", "empty")


def test_queues_have_their_indices(guest):
    code = start() + describe(0, DATA, 16, 2) + describe(1, DATA, 16, 2) + offer(0, 0, 1) + await_word(USED + 2, 2)
    control = guest(
        code + bytes.fromhex(SPIN), boot={"mode": "protected"}, devices=[{"kind": "virtio-rng"}], vm={"timeout": "60s"}
    )
    where = "devices/virtio-rng0/state/common/queues/0"
    eventually(lambda: control.inspect(where).get("used") == 2, "the queue was not served")
    queue = control.inspect(where)
    assert {name: queue[name] for name in ("size", "ready", "taken", "put", "available", "waiting")} == {
        "size": 8, "ready": True, "taken": 2, "put": 2, "available": 2, "waiting": 0,
    }  # fmt: skip
    assert control.inspect("devices/virtio-rng0/transport") == "mmio"
    assert control.counters()["queues"] == {"virtio-rng0 queue 0": 2}


def test_a_device_that_cannot_be_saved_says_so(guest):
    source = """
from runner.devices import Device


class Quiet(Device):
    pass


class Broken(Device):
    def save(self):
        raise SystemError("no")


class Leaving(Device):
    def save(self):
        raise SystemExit("no")
"""
    devices = [
        {"kind": "python", "class": f"own:{name}", "port": [0x300 + index, 1]}
        for index, name in enumerate(("Quiet", "Broken", "Leaving"))
    ]
    control = guest(SPIN, devices=devices, files={"own.py": source})
    quiet, broken, leaving = (device["state"] for device in control.inspect("devices").values())
    assert "has no state_class" in quiet
    assert (broken, leaving) == ("its save() raised SystemError('no')", "its save() raised SystemExit('no')")
    assert control.status().state == "running"


def test_what_can_be_read_live_pauses_nothing(guest, monkeypatch):
    control = guest(BUSY, devices=DEVICES)
    monkeypatch.setattr(Machine, "standing", pytest.fail)
    for part in ("machine", "memory", "counters", "vcpus/0/exits", "devices/serial0/regions"):
        assert control.inspect(part) is not None
    control.counters()
    control.status()


def test_a_paused_machine_stays_paused(guest):
    control = guest(BUSY, devices=DEVICES)
    control.pause()
    first = control.inspect("vcpus/0/registers")
    assert control.status().state == "paused"
    time.sleep(0.05)
    assert control.inspect("vcpus/0/registers") == first
    control.resume()
    eventually(lambda: control.inspect("vcpus/0/exits/io") > 10, "the guest stands still")


def test_counters_count_exits_by_device(guest):
    control = guest(BUSY, devices=DEVICES)
    eventually(lambda: control.counters()["devices"]["rtc0"] > 100, "nothing is counted")
    control.pause()
    counters = control.counters()
    devices = counters["devices"]
    assert counters["exits"] == {"io": sum(devices.values())}
    assert abs(devices["rtc0"] - 2 * devices["serial0"]) <= 2
    assert counters["resident"] > 1 << 20


def test_the_commands(guest, capsys):
    guest(BUSY, devices=DEVICES)
    assert command(capsys, "inspect", "guest", "devices/rtc0/kind") == (0, "rtc\n", "")
    status, out, _ = command(capsys, "inspect", "guest", "vcpus/0/registers", "--json")
    assert (status, json.loads(out)["mode"]) == (0, "real mode, 16-bit")
    status, out, _ = command(capsys, "inspect", "guest")
    assert (status, [line for line in out.splitlines() if not line.startswith(" ")]) == (
        0, ["machine", "vcpus", "memory", "devices", "counters"],
    )  # fmt: skip
    status, out, err = command(capsys, "inspect", "guest", "device")
    assert (status, out) == (2, "")
    assert "the machine has no 'device': it has machine, vcpus, memory, devices, counters" in err
    status, out, _ = command(capsys, "stat", "guest", "--interval", "0.05")
    assert (status, [line.split()[0] for line in out.splitlines()]) == (
        0, ["exits", "io", "all", "by", "rtc0", "serial0", "after"],
    )  # fmt: skip
    status, out, _ = command(capsys, "stat", "guest", "--json")
    assert set(json.loads(out)["devices"]) == {"rtc0", "serial0"}


def test_a_watch_ends_with_the_run(write_spec, capsys):
    with runner.start(write_spec(BUSY, devices=DEVICES, vm={"timeout": "1s"}), control="guest", record=False):
        status, out, err = command(capsys, "stat", "guest", "--watch", "--interval", "0.1")
    assert (status, out.count("by device") > 1) == (1, True)
    assert "guest has closed the connection" in err


def test_the_process_keeps_its_descriptors(guest, descriptors):
    control = guest(BUSY, devices=DEVICES)
    control.inspect()
    before = descriptors()
    for _ in range(20):
        control.inspect()
    assert descriptors() == before
    assert Path("/proc/self/statm").exists()
