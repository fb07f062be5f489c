"""Recordings that are fed to the device models. The small ones beside this file were recorded by ``record.py``."""

import shutil
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends.disk import Disk
from runner.backends.relay import Relayed
from runner.cli import main
from runner.devices.i8042 import I8042
from runner.devices.i8254 import I8254
from runner.devices.i8259 import I8259
from runner.devices.i8259chip import Chip
from runner.devices.rtc import RTC
from runner.devices.serial import Serial
from runner.devices.virtio.blk import Blk
from runner.devices.virtio.common import Common
from runner.devices.virtio.console import Console
from runner.devices.virtio.mmio import MMIO
from runner.devices.virtio.net import Net
from runner.devices.virtio.rng import Rng
from runner.machine.virtqueue import Queue
from runner.machine.virtualpath import VirtualPath
from runner.memory import GuestMemoryError
from runner.replay import fed, modelleddma, offline
from runner.replay.disks import Disks
from runner.replay.modelled import Modelled
from runner.replay.offline import compared
from runner.replay.recording import Recording
from tracer.format.errors import TraceError

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("[!.]*.arrow"))
TRACES = [path for path in RECORDINGS if path.name.count(".") == 1]
ECHO = Path(__file__).parent / "recordings" / "echo.arrow"


@pytest.fixture(scope="module")
def recordings():
    return {path.stem: Recording.of(path) for path in TRACES}


def differences(recording):
    """The differences of a recording of those here, whose disk is beside them."""
    with (
        closing(Disks(TRACES[0].parent / recording.path.name, [TRACES[0].parent])) as disks,
        closing(Modelled(recording, disks.open)) as machine,
    ):
        assert not machine.unmodelled
        yield from compared(recording, machine)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_models_do_as_recorded(path):
    assert list(differences(Recording.of(path))) == []


def test_each_read_of_the_tsc_is_compared(recordings):
    made = recordings["counts"]
    changed = [each._replace(data=each.data + 1) if each.seq == 6 else each for each in made.exits]
    assert changed[6].device == "tsc0"
    found = list(compared(made._replace(exits=changed)))
    assert next((row["exit"], row["what"]) for row in found) == (6, "read of the TSC (tsc0)")
    seeded = made._replace(spec=made.spec.replace("[vm]\n", "[vm]\nseed = 3\n"))
    assert {row["exit"] for row in compared(seeded)} == {each.seq for each in made.exits if each.loads_tsc("tsc0")}


def test_without_its_disk_the_other_devices_are_compared(recordings, monkeypatch):
    """Its interrupts are taken to come when they came."""
    with closing(Modelled(recordings["halts"])) as machine:
        assert [*machine.unmodelled] == ["virtio-blk0"]
        assert list(compared(recordings["halts"], machine)) == []
    monkeypatch.setattr(I8259, "acknowledge", lambda self: 1)
    assert next(compared(recordings["halts"]))["what"] == "interrupt"


def add(value):
    return lambda real: lambda self, *arguments: (real(self, *arguments) + value) & 0xFF


def flip(bit):
    return lambda real: lambda self, *arguments: real(self, *arguments) ^ bit


def nothing(real):
    return lambda self, *arguments: None


FAULTS = [
    (I8259, "acknowledge", add(1)),
    (I8259, "peek", lambda real: lambda self, offset: None if real(self, offset) is None else real(self, offset) ^ 1),
    (I8259, "settle", nothing),
    (Chip, "write_mask", lambda real: lambda self, value: real(self, value ^ 1)),
    (Chip, "write_mask", nothing),
    (Chip, "acknowledge", lambda real: lambda self: real(self) ^ 1),
    (I8254, "tick", nothing),
    (I8254, "read", flip(1)),
    (I8254, "write", lambda real: lambda self, *where: real(self, *where[:-1], where[-1] ^ 1)),
    (RTC, "tick", nothing),
    (RTC, "read", flip(1)),
    (RTC, "read", flip(0x80)),
    (RTC, "write", lambda real: lambda self, *where: real(self, *where[:-1], where[-1] ^ 1)),
    (Serial, "read", flip(1)),
    (Serial, "read", flip(0x20)),
    (Serial, "receive", lambda real: lambda self, data: real(self, data[::-1] + b"x")),
    (Serial, "receive", nothing),
    (Serial, "write", nothing),
    (I8042, "read", flip(1)),
    (I8042, "write", nothing),
    (MMIO, "read", flip(1)),
    (MMIO, "used", nothing),
    (Common, "kicked", nothing),
    (Common, "_interrupt", nothing),
    (Common, "set_driver_features", nothing),
    (Rng, "_bytes", lambda real: lambda self, size: real(self, size)[::-1]),
    (Console, "_received", staticmethod(lambda port, chain: chain.write(b"?"))),
    (Console, "pump", nothing),
    (Queue, "wait", lambda real: lambda self: False),
    (VirtualPath, "completed", lambda real: lambda self: ()),
    (VirtualPath, "_serve", lambda real: lambda self: None),
    (Disk, "native", lambda real: lambda self, identification: real(self, b"another")),
    (Net, "receive", nothing),
    (Net, "begin", nothing),
    (Net, "configuration", lambda real: lambda self: bytes(len(real(self)))),
    (Relayed, "give", lambda real: lambda self, frame: real(self, frame[:-1])),
    (Relayed, "give", lambda real: lambda self, frame: real(self, frame[:12] + frame[:11:-1])),
    (Blk, "configuration", lambda real: lambda self: bytes(len(real(self)))),
]


@pytest.mark.parametrize(("model", "name", "fault"), FAULTS, ids=lambda part: getattr(part, "__name__", str(part)))
def test_a_fault_of_a_model_is_found(recordings, monkeypatch, model, name, fault):
    monkeypatch.setattr(offline, "PATIENCE", 1 << 12)  # a fault may make a timer very fast
    monkeypatch.setattr(model, name, fault if isinstance(fault, staticmethod) else fault(getattr(model, name)))
    assert any(next(differences(recording), None) is not None for recording in recordings.values())


def test_a_timer_that_wakes_nobody_ends_the_models_run(recordings, monkeypatch):
    """As it ends a run on KVM: the guest has masked what it waits for."""
    monkeypatch.setattr(offline, "PATIENCE", 50)
    monkeypatch.setattr(I8254, "write", lambda self, *where, real=I8254.write: real(self, *where[:-1], where[-1] ^ 1))
    last = list(differences(recordings["passes"]._replace(inputs={})))[-1]
    assert (last["what"], last["recorded"], last["modelled"]) == ("end", "goes on", "halt")


def test_a_halted_guest_gets_its_input_at_the_time_at_which_it_came(recordings):
    """Its timer runs; the UART interrupts a while after that."""
    recording = recordings["passes"]
    clocks = [came.clock for each in recording.inputs.values() for came in each]
    assert max(clocks) > 1_000_000_000
    early = {seq: [came._replace(clock=0) for came in each] for seq, each in recording.inputs.items()}
    assert next(differences(recording._replace(inputs=early)))["what"] == "time of waking"


def test_a_disk_with_other_bytes_is_found(recordings, tmp_path):
    """Where no image has the hash, the device has no model."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4096))
    with path.open("rb") as file:
        disk = Disk(file.fileno(), 4096, None, False, False)
        found = next(compared(recordings["halts"], Modelled(recordings["halts"], lambda planned: disk)))
    assert found["what"] == "DMA of virtio-blk0"
    assert found["recorded"].startswith("write of 512 bytes at 0x20000: 03 00 fc ff")
    assert found["modelled"].startswith("write of 512 bytes at 0x20000: 00 00 00 00")


MANY = pytest.param(1000, marks=pytest.mark.soak)


@pytest.mark.parametrize("flips", [60, MANY])
def test_a_bit_that_is_flipped_in_the_file_is_found(tmp_path, flips):
    """Every batch has a checksum; a bit of the metadata that a replay does not need may be any."""
    whole, random = ECHO.read_bytes(), Random(1)
    batches = whole.rindex(b"ARROW1")  # the end of the file
    path = tmp_path / "flipped.arrow"
    shutil.copy(ECHO.with_suffix(".inputs.arrow"), tmp_path / "flipped.inputs.arrow")
    silent = []
    for _ in range(flips):
        at, bit = random.randrange(batches), random.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            if Recording.of(path) != Recording.of(ECHO)._replace(path=path):
                silent.append(at)
        except TraceError:
            pass
    assert silent == []


@pytest.mark.parametrize("places", [60, MANY])
def test_an_answer_or_an_interrupt_that_is_changed_is_found_at_its_exit(recordings, places):
    random = Random(1)
    for number in range(places):
        recording = recordings[random.choice(["ticks", "sends", "echo", "looks", "disk"])]
        read = [exit for exit in recording.exits if exit.direction == "read"]
        taken = [exit for exit in recording.exits if exit.vector]
        if taken and number % 2:
            exit = random.choice(taken)
            changed = exit._replace(vector=exit.vector ^ 1 << random.randrange(8))
        else:
            exit = random.choice(read)
            changed = exit._replace(bytes=bytes([exit.bytes[0] ^ 1 << random.randrange(8)]) + exit.bytes[1:])
        exits = [*recording.exits]
        exits[exit.seq] = changed
        assert next(differences(recording._replace(exits=exits)))["exit"] == exit.seq


@pytest.mark.parametrize("places", [60, MANY])
def test_a_write_of_a_device_that_is_changed_is_found_at_its_exit(recordings, places):
    """In its bytes, its length, its address, also one beyond all memory, and where there is none."""
    random = Random(1)
    for _ in range(places):
        recording = recordings[random.choice(["disk", "halts", "random", "console", "network"])]
        dma = list(recording.dma)
        at = random.choice([number for number, each in enumerate(dma) if each.direction == "write"])
        each = dma[at]
        byte = random.randrange(len(each.data))
        flipped = bytes([each.data[byte] ^ 1 << random.randrange(8)])
        dma[at : at + 1] = random.choice(
            [
                [each._replace(data=each.data[:byte] + flipped + each.data[byte + 1 :])],
                [each._replace(data=each.data + b"x")],
                [each._replace(addr=each.addr ^ 1 << random.randrange(64))],
                [],
            ]
        )
        found = next(differences(recording._replace(dma=dma)))
        assert (found["exit"], found["what"]) == (each.exit, f"DMA of {each.device}")


@given(st.data())
def test_any_reads_of_devices_are_survived(recordings, data):
    """What the models find in the guest's memory may be anything, anywhere."""
    recording = recordings[data.draw(st.sampled_from(["disk", "halts", "random", "console", "network"]))]
    dma = list(recording.dma)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(dma) - 1))
        values = st.binary(min_size=len(dma[at].data), max_size=len(dma[at].data)) | st.binary(max_size=64)
        dma[at] = dma[at]._replace(
            data=data.draw(values), addr=data.draw(st.just(dma[at].addr) | st.integers(0, 1 << 64))
        )
    list(differences(recording._replace(dma=dma)))


@given(st.data())
def test_a_file_that_is_cut_or_mixed_is_refused_or_the_same(tmp_path_factory, data):
    """The file of a recording, truncated, or with a piece of another one in it."""
    whole, other = ECHO.read_bytes(), TRACES[1].read_bytes()
    at, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 3000))
    piece = data.draw(st.sampled_from([b"", other[at : at + length], bytes(length)]))
    path = tmp_path_factory.mktemp("mixed") / "mixed.arrow"
    shutil.copy(ECHO.with_suffix(".inputs.arrow"), path.with_suffix(".inputs.arrow"))
    path.write_bytes(whole[:at] + piece + whole[at + len(piece) :] if piece else whole[:at])
    try:
        found = Recording.of(path)
    except TraceError:
        return
    list(compared(found))


def test_the_command_names_a_disk_that_it_does_not_find(recordings, capsys):
    halts = recordings["halts"].path
    assert main(["replay", str(halts)]) == 0
    assert "virtio-blk0 has an image that was not found: name its folder with --images DIR" in capsys.readouterr().err
    assert main(["replay", str(halts), "--images", str(halts.parent)]) == 0
    assert capsys.readouterr().err == ""


def test_the_command(capsys, monkeypatch):
    assert main(["replay", str(ECHO)]) == 0
    assert capsys.readouterr().out.endswith(" exits: the device models do as recorded\n")
    monkeypatch.setattr(I8259, "acknowledge", lambda self: 1)
    assert main(["replay", str(ECHO), "--limit", "1"]) == 1
    assert "interrupt: recorded 0x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "name", "error", "message"),
    [
        (modelleddma, "Transfer", MemoryError(), "too little memory for what a device's model reads and writes"),
        (fed, "GuestMemory", GuestMemoryError("the host cannot map"), "the host cannot map"),
    ],
)
def test_too_little_memory_is_said(recordings, capsys, monkeypatch, where, name, error, message):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(where, name, fail)
    halts = recordings["halts"].path
    assert main(["replay", str(halts), "--images", str(halts.parent)]) == 3
    assert f"vmrun: {message}" in capsys.readouterr().err


def test_a_recording_without_its_inputs_is_refused(capsys, tmp_path):
    shutil.copy(ECHO, tmp_path / "alone.arrow")
    assert main(["replay", str(tmp_path / "alone.arrow")]) == 2
    assert "there are no inputs beside" in capsys.readouterr().err


def test_what_is_no_recording_is_refused(capsys, tmp_path):
    path = tmp_path / "a.arrow"
    path.write_bytes(ECHO.read_bytes()[:5000])
    assert main(["replay", str(path)]) == 2
    assert main(["replay", str(Path(__file__))]) == 2
    assert "is not an Arrow file" in capsys.readouterr().err
