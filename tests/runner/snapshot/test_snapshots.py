"""Snapshots of machines whose time is the host's: taken, restored, and refused."""

import json
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import runner
import tracer
from runner.cli import main
from runner.control.errors import ControlError
from runner.kvm.registerfile import Place, RegisterFile
from runner.snapshot.errors import SnapshotError
from runner.snapshot.snapshotfile import Snapshot
from tests.fakes import flatdriver
from tests.fakes.processes import eventually
from tests.runner.test_pause import COUNT, COUNTERS, NUMBERED, STRIDE
from tests.runner.virtualguests import CONTROLLERS, HANDLERS
from vmspec.registers import virtio as R
from vmspec.trace import keys

pytestmark = pytest.mark.kvm

NUMBERS = """
from runner.devices import Device
from runner.devices.state import State, bits


class NumbersState(State):
    given: int = bits(0xFF)


class Numbers(Device):
    state_class = NumbersState
    given = 0

    def read(self, region, offset, size):
        self.given += 1
        return self.given - 1
"""
# The timer interrupts each millisecond, by KVM's controllers; the guest is halted between.
TICKS = (
    CONTROLLERS.replace("mov $0xfa", "mov $0xfe")
    + """
    mov $0x34, %al; out %al, $0x43
    mov $(1193 & 255), %al; out %al, $0x40
    mov $(1193 >> 8), %al; out %al, $0x40
    sti
1:  hlt
    mov count, %ax
    mov %ax, 0x8000
    jmp 1b
"""
    + HANDLERS
)


@pytest.fixture(autouse=True)
def _sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def counter(run, vcpu=0):
    return int.from_bytes(run._session.machine.memory.read(COUNTERS + STRIDE * vcpu, 4), "little")


def in_file(path, vcpu=0):
    """A counter in a snapshot's memory."""
    snapshot = Snapshot(path)
    try:
        extent = snapshot.contents.memory[0]
        data = next(snapshot.pieces(extent)).data[COUNTERS + STRIDE * vcpu - extent.address :][:4]
        return int.from_bytes(data, "little")
    finally:
        snapshot.close()


@pytest.fixture
def counting(write_spec, assemble):
    """The spec of a guest whose vCPUs count."""

    def spec(vcpus=1, **more):
        vm = {"vcpus": vcpus, "memory": "4MiB", "timeout": "60s"}
        files = {"numbers.py": NUMBERS}
        return write_spec(assemble(COUNT), vm=vm, devices=[NUMBERED, *more.pop("devices", ())], files=files, **more)

    return spec


@pytest.mark.parametrize("vcpus", [1, 4])
def test_each_vcpu_goes_on_from_where_it_was(counting, tmp_path, vcpus):
    file = tmp_path / "snapshot"
    with runner.start(counting(vcpus), record=False) as run:
        eventually(lambda: all(counter(run, vcpu) > 0 for vcpu in range(vcpus)), "it does not count")
        assert run.snapshot(file)
        assert not run.paused
    counts = [in_file(file, vcpu) for vcpu in range(vcpus)]
    for _ in range(2):  # the file is as it was
        with runner.start(file, restore=True) as run:
            assert all(counter(run, vcpu) >= counts[vcpu] > 0 for vcpu in range(vcpus))
            before = [counter(run, vcpu) for vcpu in range(vcpus)]
            eventually(lambda b=before: all(counter(run, n) > b[n] for n in range(vcpus)), "it stands still")
    assert [in_file(file, vcpu) for vcpu in range(vcpus)] == counts


@pytest.mark.parametrize("vcpus", [1, 2], ids=["alone", "beside one that never started"])
def test_kvms_interrupt_controllers_and_timer_go_on(write_spec, assemble, tmp_path, vcpus):
    vm = {"memory": "2MiB", "timeout": "60s", "irqchip": "kernel", "vcpus": vcpus}
    spec = write_spec(assemble(TICKS), boot={"mode": "real"}, vm=vm)
    file = tmp_path / "snapshot"
    with runner.start(spec, record=False) as run:
        eventually(lambda: counter(run) > 20, "there are no ticks")
        assert run.snapshot(file)
    before = in_file(file)
    with runner.start(file, restore=True) as run:
        eventually(lambda: counter(run) > before + 20, "there are no ticks any more")


def test_the_commands(counting, tmp_path, capfd):
    file, trace = tmp_path / "guest.snapshot", tmp_path / "later.arrow"
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(main([str(counting()), "--no-trace", "--name", "guest"])))
    thread.start()
    try:
        eventually(lambda: any(status.name == "guest" for status in runner.running()), "it does not run")
        assert main(["snapshot", "guest", str(file), "--stop"]) == 0
    finally:
        thread.join(60)
    assert "stopped, and goes on from" in capfd.readouterr().err
    assert statuses == [130]
    assert main(["--restore", str(file), "--trace", str(trace), "--timeout", "300ms"]) == 5
    assert tracer.load(trace).summary["result"]["kind"] == "timeout"
    assert tracer.load(trace).metadata[keys.RESTORED] == str(file)
    assert main([str(trace)]) == 2
    assert f"its machine went on from {file}" in capfd.readouterr().err


@pytest.fixture(params=["rw"])
def file(counting, tmp_path, request):
    """The snapshot of a guest that has counted, with a disk."""
    (tmp_path / "disk.img").write_bytes(bytes(1 << 16))
    disk = {"kind": "virtio-blk", "path": str(tmp_path / "disk.img"), "mode": request.param}
    path = tmp_path / "snapshot"
    with runner.start(counting(devices=[disk]), record=False) as run:
        eventually(lambda: counter(run) > 0, "it does not count")
        assert run.snapshot(path)
    return path


@pytest.mark.parametrize("file", ["rw", "ro", "overlay"], indirect=True)
def test_a_disk_that_has_changed_is_refused_and_a_copy_is_taken(file, tmp_path):
    disk, copy = tmp_path / "disk.img", tmp_path / "copy.img"
    copy.write_bytes(disk.read_bytes())
    time.sleep(0.01)
    disk.write_bytes(b"\1" * (1 << 16))
    with pytest.raises(SnapshotError, match=r"written to since the snapshot.*--set device\[1\]\.path"):
        runner.run(file, restore=True)
    with runner.start(file, restore=True, overrides=(f"device[1].path={copy}",)) as run:
        assert counter(run) > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vm.memory=1GiB", "vm.memory=1GiB: a machine that goes on from a snapshot takes vm.name, vm.timeout"),
        ("device[0].path=x", "python0 takes no such path here"),
        ("device[7].path=x", "a machine that goes on from a snapshot takes"),
        ("vm.timeout=soon", "soon"),
        ("nonsense", "write KEY=VALUE"),
    ],
)
def test_what_cannot_change_is_said(file, capfd, override, message):
    assert main(["--restore", str(file), "--set", override]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--locked", "--unlocked", "--replay", "--verify=2", "--images=/tmp"])
def test_options_of_other_runs_are_refused(file, capfd, option):
    assert main(["--restore", str(file), option]) == 2
    assert "--restore goes on from a snapshot" in capfd.readouterr().err


def test_another_processor_is_refused(file, monkeypatch):
    from runner.machine.realised import Realised

    found = Realised._cpuid
    monkeypatch.setattr(
        Realised, "_cpuid", lambda self, vcpu: [entry._replace(eax=entry.eax ^ 1) for entry in found(self, vcpu)]
    )
    with pytest.raises(runner.HostError, match="the snapshot is of another processor: CPUID differs in 0x0"):
        runner.run(file, restore=True)


def test_a_device_without_a_state_is_said(write_spec, assemble, tmp_path):
    files = {"numbers.py": NUMBERS.replace("state_class = NumbersState", "pass")}
    spec = write_spec(assemble(COUNT), vm={"timeout": "60s"}, devices=[NUMBERED], files=files)
    with runner.start(spec, record=False) as run:
        with pytest.raises(SnapshotError, match="Numbers can be neither saved nor loaded: it has no state_class"):
            run.snapshot(tmp_path / "snapshot")
        assert not run.paused
    assert not (tmp_path / "snapshot").exists()


def test_a_device_whose_save_leaves_python_ends_no_control(write_spec, tmp_path):
    source = NUMBERS + "\n    def save(self):\n        raise SystemExit(1)\n"
    (tmp_path / "own.py").write_text(source)
    device = {"kind": "python", "class": "own:Numbers", "port": [0x300, 1]}
    path = write_spec("eb fe", devices=[device], vm={"timeout": "60s"})
    with runner.start(path, control="guest", record=False), runner.connect("guest") as control:
        for _ in range(2):
            with pytest.raises(ControlError, match="snapshot failed: SystemExit"):
                control.snapshot(tmp_path / "snapshot")
        assert control.status().state == "running"


def test_memory_types_go_on(write_spec, tmp_path):
    """KVM does not list the MTRRs (Intel SDM volume 3, 12.11) among the MSRs to be saved."""
    place = Place("msr", at=0x2FF)
    path = write_spec("eb fe", vm={"timeout": "60s"})
    with runner.start(path, record=False) as run:
        run.pause()
        RegisterFile(run._session.machine.vcpus[0]).set(place, 0xC06)
        run.snapshot(tmp_path / "snapshot")
    with runner.start(tmp_path / "snapshot", restore=True, record=False) as run:
        run.pause()
        assert RegisterFile(run._session.machine.vcpus[0]).get(place) == 0xC06


def test_the_processor_is_the_same_in_each_process(file):
    """CPUID may not tell on which of the host's processors it was asked."""
    code = f"import runner; runner.start({str(file)!r}, restore=True).stop()"
    for cpu in os.sched_getaffinity(0):
        subprocess.run(["taskset", "-c", str(cpu), sys.executable, "-c", code], check=True, timeout=60, cwd=Path.cwd())


def test_the_file_names_what_it_has(file):
    text = file.read_bytes()
    contents = json.loads(text[text.rindex(b'{"version"') :])
    assert contents["plan"]["vm"]["name"] == "guest"
    assert contents["devices"]["python0"]["given"] == 1


def test_nothing_is_written_to_a_disk_after_the_snapshot_that_stops_a_run(write_spec, tmp_path):
    """The guest has more writes under way than the device takes at once."""
    available, used = flatdriver.QUEUE + 0x1000, flatdriver.QUEUE + 0x2000
    header, status, data = 0x30000, 0x30100, 0x400000
    code = flatdriver.start(size=256).replace(
        struct.pack("<I", flatdriver.AVAILABLE), struct.pack("<I", available)
    ).replace(struct.pack("<I", flatdriver.USED), struct.pack("<I", used))  # fmt: skip
    code += flatdriver.put(header, struct.pack("<IIQ", 1, 0, 0)) + flatdriver.describe(0, header, 16, 1, 1)
    code += flatdriver.describe(1, data, 0x2000, 1, 2) + flatdriver.describe(2, status, 1, 2)
    # The driver's index is always 255 ahead of the device's: mov ax, [used]; add ax, 255; mov [available], ax; notify
    turn = b"\x66\xa1" + struct.pack("<I", used + 2) + b"\x66\x05\xff\x00" + b"\x66\xa3"
    turn += struct.pack("<I", available + 2) + flatdriver.store(flatdriver.HERE + R.QUEUE_NOTIFY, 0)
    code += turn + b"\xeb" + struct.pack("<b", -(len(turn) + 2))
    (tmp_path / "disk.img").write_bytes(bytes(4 << 20))
    disk = {"kind": "virtio-blk", "path": str(tmp_path / "disk.img")}
    vm = {"memory": "16MiB", "timeout": "60s"}
    spec = write_spec(code, boot={"mode": "protected"}, vm=vm, devices=[disk])
    file = tmp_path / "snapshot"
    for _ in range(3):
        with runner.start(spec, record=False, control="guest") as run, runner.connect("guest") as control:
            memory = run._session.machine.memory
            eventually(lambda memory=memory: memory.read(used + 2, 2) > b"\0\1", "nothing is written")
            control.snapshot(file, stop=True)
            assert run.result(30).kind == "interrupted"
        with runner.start(file, restore=True):  # it refuses a disk that has changed
            pass
