"""Recordings of machines with virtio devices, replayed on KVM: what the devices wrote comes from the table of DMA."""

import os
import threading
import time
from random import Random

import pytest

import tracer
from runner.cli import main
from runner.replay.offline import compared
from runner.replay.recording import Recording
from runner.replay.replaying import replay
from runner.session.given import Given
from tests.fakes.flatdriver import DATA, HLT, USED
from tests.fakes.netfakes import Answers
from tests.runner.backends.test_user import MAC, MISSING, ROUTER, arp
from tests.runner.replay import devicesguests as guests
from tests.runner.replay.dmatable import flipped, rewritten
from tracer.format.errors import TraceError

pytestmark = pytest.mark.kvm

SECTORS = 64
RUNS = pytest.mark.parametrize("runs", [2, pytest.param(20, marks=pytest.mark.soak)])


@pytest.fixture
def record(run_guest, tmp_path):
    """Records a guest with a device; the path of its trace."""

    def record(code, device, memory="1MiB", **spec):
        result = run_guest(
            code + HLT,
            boot={"mode": "protected"},
            devices=[device, {"kind": "debug-port"}, {"kind": "post-port"}],
            vm=guests.VIRTUAL | {"memory": memory},
            trace=guests.RECORDED,
            **spec,
        )
        assert (result.kind, result.detail) == ("halt", "")
        return result.trace

    return record


@pytest.fixture
def disk(tmp_path):
    """Makes a disk of random bytes; its table of a spec."""

    def disk(random, sectors=SECTORS):
        path = tmp_path / "disk.img"
        path.write_bytes(random.randbytes(sectors * 512))
        return {"kind": "virtio-blk", "path": str(path), "mode": "ro"}

    return disk


def replayed(trace, **changed):
    plan = Given.replayed(trace, (), (), lambda text: None).plan
    return replay(Recording.of(trace)._replace(**changed), plan, None, lambda: False)


def assert_replays(trace):
    found = replayed(trace)
    assert (found.mismatch, found.ended) == (None, "")
    assert found.exits == found.recorded
    assert guests.writes(Recording.of(trace))


@RUNS
@pytest.mark.parametrize("guest", [guests.reads, guests.interrupted])
def test_a_disks_recordings_replay_to_their_end(record, disk, guest, runs):
    for seed in range(runs):
        random = Random(seed)
        trace = record(guest(guests.random_reads(random, SECTORS)), disk(random))
        if guest is guests.interrupted:
            assert any(exit.vector == guests.VECTOR for exit in Recording.of(trace).exits)
        assert_replays(trace)


@RUNS
def test_random_bytes_replay_to_their_end(record, runs):
    for seed in range(runs):
        random = Random(seed)
        code = guests.random_bytes([random.randrange(1, 300) for _ in range(4)])
        assert_replays(record(code, {"kind": "virtio-rng", "seed": seed}))


@RUNS
def test_a_consoles_random_input_replays_to_its_end(record, runs):
    for seed in range(runs):
        random = Random(seed)
        typed = random.randbytes(random.randrange(5, 30))
        source, sink = os.pipe()

        def write(typed=typed, random=random, sink=sink):
            for byte in typed:
                time.sleep(random.random() / 500)
                os.write(sink, bytes([byte]))
            os.close(sink)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            trace = record(guests.echo(len(typed)), {"kind": "virtio-console", "input": "stdin"}, input=source)
        finally:
            writer.join()
            os.close(source)
        assert tracer.load(trace).console("debug-port0") == typed
        assert_replays(trace)


@RUNS
@pytest.mark.parametrize("guest", [guests.exchange, guests.exchange_interrupted])
def test_a_networks_frames_replay_to_their_end(record, tmp_path, guest, runs):
    """On KVM and by today's model. The other side answers when it likes, and sends more than that."""
    for seed in range(runs):
        random = Random(seed)
        frames = guests.random_frames(random, random.randint(3, 12))
        other = Answers(tmp_path / f"{seed}", random)
        other.start()
        trace = record(guest(frames), {"kind": "virtio-net", "stream": str(tmp_path / f"{seed}")})
        other.join()
        assert other.heard == frames
        inputs = [row for row in tracer.load(trace).tables["inputs"].table.to_pylist() if row["kind"] == "bytes"]
        assert len(inputs) >= len(frames)
        assert {row["device"] for row in inputs} == {"virtio-net0"}
        if guest is guests.exchange_interrupted:
            assert any(exit.vector == guests.VECTOR for exit in Recording.of(trace).exits)
        assert_replays(trace)
        assert list(compared(Recording.of(trace))) == []


@pytest.mark.skipif(MISSING is not None, reason=f"no libslirp: {MISSING}")
def test_what_user_mode_answers_is_replayed(record):
    """The router says where it is (ARP)."""
    trace = record(guests.exchange([arp(1)] * 2), {"kind": "virtio-net", "mac": MAC.hex(":")})
    inputs = [row["data"] for row in tracer.load(trace).tables["inputs"].table.to_pylist() if row["kind"] == "bytes"]
    assert [data[12 + 20 : 12 + 22] + data[12 + 28 : 12 + 32] for data in inputs].count(b"\0\2" + ROUTER) == 2
    assert_replays(trace)
    assert list(compared(Recording.of(trace))) == []


def test_neither_a_disk_nor_the_source_of_a_device_is_needed(run_guest, disk, tmp_path, capsys):
    own = "from runner.devices import Device\n\n\nclass Seven(Device):\n"
    own += "    def read(self, region, offset, size):\n        return 7\n"
    code = b"\x66\xba\x00\x05\xec\xe6\xe9"  # mov dx, 0x500; in al, dx; out 0xe9, al
    trace = run_guest(
        code + guests.reads([(3, 512)]) + HLT,
        boot={"mode": "protected"},
        devices=[
            disk(Random(1)),
            {"kind": "python", "class": "seven:Seven", "port": [0x500, 1]},
            {"kind": "debug-port", "output": "log"},
            {"kind": "post-port"},
        ],
        files={"seven.py": own},
        vm=guests.VIRTUAL,
        trace=guests.RECORDED,
    ).trace
    for name in ("disk.img", "seven.py", "log"):
        (tmp_path / name).unlink()
    assert main([str(trace), "--replay"]) == 0
    assert capsys.readouterr() == (f"all {len(Recording.of(trace).exits)} exits are as recorded\n", "")
    assert not (tmp_path / "log").exists()


def test_a_long_read_is_in_pieces_and_in_order(record, disk, tmp_path):
    """More than C keeps at once."""
    bytes_, table = 3 << 20, disk(Random(1), 3 << 11)
    trace = record(guests.long_read(bytes_), table, memory="8MiB")
    rows = [row for row in guests.writes(Recording.of(trace)) if len(row.data) > 512]
    assert b"".join(row.data for row in rows) == (tmp_path / "disk.img").read_bytes()
    assert [row.addr for row in rows] == [guests.LONG + at for at in range(0, bytes_, 1 << 16)]
    assert_replays(trace)


def test_a_write_of_a_users_device_is_replayed(run_guest):
    """It stamps memory when it is told to, and the guest shows that."""
    own = "from runner.devices import Device\n\n\nclass Stamp(Device):\n"
    own += "    def write(self, region, offset, size, value):\n"
    own += f"        self.memory.write({DATA:#x}, bytes([value, 0x55]))\n"
    code = b"\xb0\x21\x66\xba\x00\x05\xee" + guests.show(DATA, 4) + HLT  # mov al, 0x21; mov dx, 0x500; out dx, al
    device = {"kind": "python", "class": "stamp:Stamp", "port": [0x500, 1]}
    trace = run_guest(
        code,
        boot={"mode": "protected"},
        devices=[device, {"kind": "debug-port"}],
        files={"stamp.py": own},
        vm=guests.VIRTUAL,
        trace=guests.RECORDED,
    ).trace
    assert [tuple(write) for write in guests.writes(Recording.of(trace))] == [
        (0, "python0", "write", DATA, b"\x21\x55")
    ]
    assert_replays(trace)


MANY = [20, pytest.param(1000, marks=pytest.mark.soak)]


@pytest.mark.parametrize("flips", MANY)
def test_a_bit_that_is_flipped_in_the_table_is_found_at_the_first_exit_that_shows_it(record, disk, tmp_path, flips):
    random = Random(1)
    requests = guests.random_reads(random, SECTORS)
    trace = record(guests.reads(requests), disk(random))
    plan = Given.replayed(trace, (), (), lambda text: None).plan
    shown = guests.Shown(Recording.of(trace), requests)
    assert shown.first(guests.writes(Recording.of(trace))) is None
    found = {"refused": 0, "seen": 0, "no effect": 0}
    for _ in range(flips):
        path = rewritten(trace, tmp_path / "flipped", flipped(random))
        try:
            recording = Recording.of(path)
        except TraceError:
            found["refused"] += 1
            continue
        expected = shown.first(guests.writes(recording))
        mismatch = replay(recording, plan, None, lambda: False).mismatch
        assert (None if mismatch is None else mismatch.exit) == expected
        found["no effect" if expected is None else "seen"] += 1
    assert min(found.values()) > 0
    assert found["seen"] > flips / 4


def test_a_write_that_is_not_to_ram_is_shown(record, disk):
    trace = record(guests.reads([(3, 512)]), disk(Random(1)))
    writes = guests.writes(Recording.of(trace))
    first = next(number for number, write in enumerate(writes) if write.addr == DATA)
    writes[first] = writes[first]._replace(addr=1 << 40)
    mismatch = replayed(trace, dma=writes).mismatch
    assert mismatch.exit == writes[first].exit
    assert mismatch.differs == {
        "DMA of virtio-blk0": ("512 bytes", "0x10000000000..0x10000000200 is not guest RAM that can be written")
    }


def test_without_a_write_the_guest_is_found_to_do_otherwise(record, disk):
    trace = record(guests.reads([(3, 512)]), disk(Random(1)))
    writes = [write for write in guests.writes(Recording.of(trace)) if write.addr != USED + 2]
    mismatch = replayed(trace, dma=writes).mismatch
    assert mismatch.differs.keys() >= {"addr"}


def test_todays_models_do_what_the_devices_have_done(record, disk, capsys):
    random = Random(5)
    for guest in (guests.reads, guests.interrupted):
        trace = record(guest(guests.random_reads(random, SECTORS)), disk(random))
        assert main(["replay", str(trace)]) == 0, capsys.readouterr().out
    assert main(["replay", str(record(guests.random_bytes([33, 70]), {"kind": "virtio-rng", "seed": 5}))]) == 0
    assert "the device models do as recorded" in capsys.readouterr().out
