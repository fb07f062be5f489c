"""Machines with virtual time that stop at a snapshot and go on from it: all together they make the exits of one run."""

import os
import random
import time

import pytest

import runner
import tracer
from runner.machine.result import Ending
from runner.snapshot.taking import take
from tests.fakes.flatdriver import HLT
from tests.fakes.netfakes import framed, listening, received
from tests.runner.replay import devicesguests
from tests.runner.test_virtual_input import ECHO, INPUTS, PASSES
from tests.runner.virtualguests import CONTRACT, CONTROLLERS, HANDLERS, POST, RTC, VIRTUAL
from vmspec.trace.record import COMPARED

pytestmark = pytest.mark.kvm


def exits(path):
    """The exits, without what woke a halted guest: if it is stopped there, no row has that."""
    table = tracer.load(path).table.select([name for name in COMPARED if name != "seq"])
    return [row | ({"data": 0, "vector": 0} if row["reason"] == "hlt" else {}) for row in table.to_pylist()]


def stop_at_snapshot(run, path):
    """As vmrun snapshot --stop does."""
    machine = run._session.machine
    with machine.standing() as stands:
        if stands:
            take(machine, path)
            machine.end(Ending("interrupted"))


def stopped_and_gone_on(spec, folder, after):
    """The exits of runs that go on from each other's snapshots, each stopped after a random time, and how many there
    were."""
    found, place, number = [], spec, 0
    while True:
        trace, snapshot = folder / f"part{number}.arrow", folder / f"part{number}.snapshot"
        with runner.start(place, restore=number > 0, overrides=(f"trace.path={trace}",)) as run:
            time.sleep(random.random() * after)
            stop_at_snapshot(run, snapshot)
            result = run.result()
        found += exits(trace)
        if result.kind != "interrupted":
            assert f"{result.kind} {result.detail}" == "halt "
            return found, number
        place, number = snapshot, number + 1


def assert_goes_on(write_spec, tmp_path, code, after, **spec):
    path = write_spec(code, **spec)
    whole = runner.run(path, overrides=(f"trace.path={tmp_path / 'whole.arrow'}",))
    assert (whole.kind, whole.detail) == ("halt", "")
    expected = exits(whole.trace)
    count = 0
    while not count:  # unless the guest had ended before
        parts, count = stopped_and_gone_on(path, tmp_path, after)
        after /= 2
    differing = [(at, *rows) for at, rows in enumerate(zip(parts, expected, strict=False)) if rows[0] != rows[1]]
    assert (differing[:1], len(parts)) == ([], len(expected))


def test_timers_and_interrupts_go_on(write_spec, assemble, tmp_path):
    """The guest is halted in each second turn."""
    code = assemble(f"TURNS = 1500\n{CONTRACT}".replace("test $63, %cl", "test $1, %cl"))
    assert_goes_on(write_spec, tmp_path, code, 0.1, devices=[RTC, POST], vm=VIRTUAL)


WRITE = 1


@pytest.fixture(params=["overlay", "ro"])
def disk(request, tmp_path):
    (tmp_path / "disk.img").write_bytes(random.Random(3).randbytes(64 * 512))
    return {"kind": "virtio-blk", "path": str(tmp_path / "disk.img"), "mode": request.param}


def protected(write_spec, tmp_path, code, device, after=0.02, **options):
    devices = [device, {"kind": "debug-port"}, {"kind": "post-port"}]
    boot, vm = {"mode": "protected"}, devicesguests.VIRTUAL | {"memory": "1MiB"}
    assert_goes_on(write_spec, tmp_path, code + HLT, after, boot=boot, vm=vm, devices=devices, **options)


def test_a_disk_goes_on_with_what_was_written(write_spec, tmp_path, disk):
    """Writes of each sector, and reads of it."""
    code = devicesguests.start()
    for number in range(0, 40, 2):
        kind = WRITE if disk["mode"] != "ro" else 0
        code += devicesguests.disk_request(number, number, 512, kind=kind)
        code += devicesguests.disk_request(number + 1, number, 1024)
    protected(write_spec, tmp_path, code, disk)


def test_a_disk_that_interrupts_goes_on(write_spec, tmp_path, disk):
    protected(write_spec, tmp_path, devicesguests.interrupted([(n % 60, 512) for n in range(30)]), disk)


def test_random_bytes_of_a_seed_go_on(write_spec, tmp_path):
    rng = {"kind": "virtio-rng", "seed": 7}
    protected(write_spec, tmp_path, devicesguests.random_bytes([33, 70, 1] * 10), rng)


@pytest.mark.parametrize("timer", ["", PASSES], ids=["halted", "halted while time passes"])
def test_a_guest_that_waits_for_input_waits_on(write_spec, assemble, tmp_path, timer):
    serial = {"kind": "serial", "input": "stdin"}
    place = write_spec(assemble(CONTROLLERS + timer + ECHO + HANDLERS), devices=[serial], vm=VIRTUAL, trace=INPUTS)
    snapshot, said = tmp_path / "snapshot", b""
    for piece in (b"a", b"bc", b"."):
        (source, sink), (answers, output) = os.pipe(), os.pipe()
        with runner.start(place, restore=bool(said), input=source, output=output) as run:
            os.write(sink, piece)
            for _ in piece:
                said += os.read(answers, 1)
            if piece != b".":
                stop_at_snapshot(run, snapshot)
            os.close(sink)  # else more may come
            result = run.result()
        for descriptor in (source, answers, output):
            os.close(descriptor)
        place = snapshot
    assert (result.kind, said) == ("halt", b"abc.")


def test_a_network_goes_on_with_another_connection(write_spec, tmp_path):
    """The guest waits for an answer; what comes by the new connection is one."""
    frames = [bytes([at]) * 60 for at in range(3)]
    wire, snapshot, trace = tmp_path / "wire", tmp_path / "snapshot", tmp_path / "later.arrow"
    place = write_spec(
        devicesguests.exchange_interrupted(frames) + HLT,
        boot={"mode": "protected"},
        vm=devicesguests.VIRTUAL | {"memory": "1MiB"},
        devices=[{"kind": "virtio-net", "stream": str(wire)}, {"kind": "post-port"}],
        trace=INPUTS,
    )
    with listening(wire) as server, runner.start(place) as run:
        peer = server.accept()[0]
        assert received(peer) == frames[0]
        peer.sendall(framed(b"a" * 60))
        assert received(peer) == frames[1]
        time.sleep(0.05)  # it is halted, most likely
        stop_at_snapshot(run, snapshot)
        assert run.result().kind == "interrupted"
        peer.close()
    wire.unlink()
    with listening(wire) as server, runner.start(snapshot, restore=True, overrides=(f"trace.path={trace}",)) as run:
        peer = server.accept()[0]
        peer.sendall(framed(b"b" * 60))
        assert received(peer) == frames[2]
        peer.sendall(framed(b"c" * 60))
        result = run.result()
        peer.close()
    assert (result.kind, result.detail) == ("halt", "")
    inputs = [row for row in tracer.load(trace).tables["inputs"].table.to_pylist() if row["kind"] == "bytes"]
    assert [row["data"] for row in inputs] == [bytes(12) + b"b" * 60, bytes(12) + b"c" * 60]
