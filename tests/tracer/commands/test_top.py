"""``vmtrace top``: numbers of finished and of growing traces, and the machine that a name means."""

import os
import struct
import threading
from pathlib import Path

import pytest

from tests.fakes.tracefakes import DEVICES, METADATA, Rings, exit_, pytest_fail, record_all, tsc
from tracer import load
from tracer.analysis import rates as rates_module
from tracer.analysis.account import account, balance
from tracer.analysis.rates import BEYOND, Place, Rates, place_name
from tracer.cli import main
from tracer.read.vitals import vitals
from tracer.record.recorder import Recorder
from tracer.show.live import screen
from vmspec.trace.record import HEADER


@pytest.fixture
def path(tmp_path):
    """Two vCPUs in 1 ms: one that prints, one that halts for half of it."""
    printing = [exit_(t * 10_000, t * 10_000 + 1000) for t in range(100)]
    halting = [exit_(0, 500_000, reason="hlt", addr=0, data=b"", size=0, direction="none", device=None)]
    halting += [exit_(900_000, 1_000_000, addr=0xCFC, data=b"\xff" * 4, size=4, direction="read", device=None)]
    record_all(tmp_path / "boot.arrow", [printing, halting])
    return tmp_path / "boot.arrow"


def counted(path):
    rates = Rates()
    for batch in load(path).batches():
        rates.add(batch)
    return rates


def test_totals_and_rates(path):
    rates = counted(path)
    assert {vcpu: counts.exits for vcpu, counts in rates.vcpus.items()} == {0: 100, 1: 2}
    assert rates.places[Place("io", "serial0", 0x3F8, "write")].handling_ns == 100_000
    assert rates.halts[1].handling_ns == 500_000
    assert {name: counts.exits for name, counts in rates.by("reason").items()} == {"io": 101, "hlt": 1}
    assert rates.span_ns == 1_000_000
    rates.turn()
    assert (rates.vcpus[0].exits, rates.vcpus[0].new_exits, rates.span_ns) == (100, 0, 0)


def test_more_places_than_are_kept(path, monkeypatch):
    monkeypatch.setattr(rates_module, "KEPT", 1)
    rates = counted(path)
    beyond = {place: counts.exits for place, counts in rates.places.items() if place.addr == BEYOND}
    assert beyond == {Place("hlt", "-", BEYOND, "none"): 1, Place("io", "-", BEYOND, "read"): 1}
    assert sum(counts.exits for counts in rates.places.values()) == 102
    assert {name: counts.exits for name, counts in rates.by("reason").items()} == {"io": 101, "hlt": 1}
    assert {name: counts.exits for name, counts in rates.by("device").items()} == {"serial0": 100, "-": 2}


def test_the_screen_shows_the_places_beyond_those_that_are_kept(path, monkeypatch):
    monkeypatch.setattr(rates_module, "KEPT", 1)
    rates, trace = counted(path), load(path)
    lines = screen("guest", rates, balance(trace.summary, trace.spec, rates.rows), 100).splitlines()
    assert [line.split()[-4:] for line in lines if "beyond" in line] == [
        ["none", "(places", "beyond", "1)"], ["read", "(places", "beyond", "1)"],
    ]  # fmt: skip
    assert place_name(Place("io", "serial0", BEYOND, "write")) == "(places beyond 1)  serial0"


def whole(path):
    rates, trace = counted(path), load(path)
    return rates, balance(trace.summary, trace.spec, rates.rows)


def test_a_screen(path):
    lines = screen("guest", *whole(path), 100).splitlines()
    assert lines[0] == "guest: 102 exits in 1.00 ms; 102,000 exits/s"
    assert lines[3].split() == ["0", "100,000", "100", "10.0%", "0.0%", "90.0%"]
    assert lines[4].split() == ["1", "2,000", "2", "10.0%", "50.0%", "40.0%"]
    assert any("write COM1 THR 0x3f8  serial0" in line for line in lines)
    assert max(map(len, screen("guest", *whole(path), 40).splitlines())) == 40


def test_the_account_of_a_run_is_the_same_in_batches(path):
    rates, trace = Rates(), load(path)
    for batch in trace.batches():
        for at in range(batch.num_rows):
            rates.add(batch.slice(at, 1))
    assert balance(trace.summary, trace.spec, rates.rows) == account(trace)


def test_a_run_that_hung_has_the_rate_of_its_length(tmp_path):
    closing = {"duration_ns": 4 * 10**9, "start_ns": [0, 0], "stop_ns": [4 * 10**9] * 2, "open_ns": [None] * 2}
    closing["stats"] = {"start": [{"halt_wait_ns": 0}, {}], "end": [{"halt_wait_ns": 10**9}, {}]}
    record_all(tmp_path / "boot.arrow", [[exit_(1000, 2000)], []], summary=closing)
    lines = screen("guest", *whole(tmp_path / "boot.arrow"), 100).splitlines()
    assert lines[0] == "guest: 1 exit in 4.00 s; 0.25 exits/s"
    assert lines[3].split() == ["0", "0.25", "1", "0.0%", "25.0%", "75.0%"]
    assert lines[4].split() == ["1", "0", "0", "0.0%", "0.0%", "100.0%"]


@pytest.fixture
def quiet(tmp_path):
    """A ring file of six vCPUs whose recorder looked at 5 s: one sleeps, one is with vmrun, one has stopped, one is
    of a thread that is not to be found, one has not begun, one is paused."""
    rings = Rings(6, file=tmp_path / "quiet.ring")
    rings.produce(0, exit_(2_000_000_000))
    rings.set(0, tail=1)  # it is in the stream
    ready, done = threading.Event(), threading.Event()
    threads = []

    def sleep():
        threads.append(threading.get_native_id())
        ready.set()
        done.wait()

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    ready.wait()
    while b") S " not in Path(f"/proc/{threads[0]}/stat").read_bytes():
        threading.Event().wait(0.001)
    for vcpu in range(4):
        rings.set(vcpu, start=tsc(1000), thread=threads[0])
    rings.set(1, open=tsc(3_000_000_000))
    rings.set(2, stop=tsc(4_000_000_000))
    rings.set(3, thread=1 << 40)
    rings.set(5, start=tsc(1000), thread=threads[0], paused=(1000 - tsc(4_000_000_000)) % (1 << 64))
    struct.pack_into("<Q", rings.memory, 8 * [field.name for field in HEADER].index("tsc_seen"), tsc(5_000_000_000))
    yield tmp_path / "quiet.ring"
    done.set()
    sleeper.join()


def test_what_the_vcpus_do_now(quiet):
    found = vitals(quiet)
    assert found.seen_ns == 5_000_000_000
    assert [(one.now, one.last_exit) for one in found.vcpus.values()] == [
        ("halted", 2_000_000_000), ("vmrun", 3_000_000_000), ("stopped", None), ("KVM_RUN", None), ("vmrun", None),
        ("paused", None),
    ]  # fmt: skip


def test_until_when_exits_are_known_where_some_are_not_written_yet(tmp_path):
    rings = Rings(1, file=tmp_path / "busy.ring")
    rings.produce(0, exit_(2_000_000_000))
    assert vitals(tmp_path / "busy.ring").seen_ns == 0


def test_a_quiet_machine_shows_that_it_is_alive(quiet):
    rates, now = Rates(), vitals(quiet)
    rates.until(3_000_000_000)
    rates.turn()
    rates.until(now.seen_ns)
    lines = screen("guest", rates, now, 80).splitlines()
    assert lines[0] == "guest: 0 exits in 5.00 s; 0 exits/s"
    assert lines[3].split()[-5:] == ["0.0%", "100.0%", "halted", "3.00", "s"]
    assert lines[4].split()[-6:] == ["100.0%", "0.0%", "0.0%", "vmrun", "2.00", "s"]
    assert lines[5].split()[-5:] == ["0.0%", "0.0%", "0.0%", "stopped", "none"]
    assert lines[8].split()[-5:] == ["0.0%", "0.0%", "0.0%", "paused", "none"]


def test_without_a_ring_there_are_no_vitals(tmp_path):
    assert vitals(tmp_path / "none.ring") is None
    (tmp_path / "bad.ring").write_bytes(b"VMRING1" + bytes(5000))
    assert vitals(tmp_path / "bad.ring") is None


def test_a_finished_trace_is_told_once(path, capsys):
    assert main(["top", str(path)]) == 0
    assert capsys.readouterr().out.count("fake (ended): 102 exits") == 1


@pytest.mark.parametrize("named", ["fake", "live.arrow", "live.arrows"])
def test_a_growing_trace_by_its_name_until_it_ends(tmp_path, capsys, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.arrows").write_bytes(b"no trace")
    rings = Rings(1)
    recorder = Recorder(tmp_path / "live.arrow", rings, lambda: METADATA, DEVICES, pytest_fail)
    recorder.start()
    rings.produce(0, exit_(1_000_000))
    rings.wake()
    while not (tmp_path / "live.arrows").exists() or not os.stat("live.arrows").st_size:  # noqa: PTH116
        threading.Event().wait(0.01)

    def end():
        rings.produce(0, exit_(2_000_000))
        recorder.finish({})

    timer = threading.Timer(0.5, end)
    timer.start()
    assert main(["top", named, "--interval", "0.1"]) == 0
    timer.join()
    assert "fake (ended): 2 exits" in capsys.readouterr().out


def test_a_name_that_nobody_has(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["top", "web"]) == 2
    assert "no machine called 'web'" in capsys.readouterr().err


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "soon"])
def test_an_interval_that_is_none(path, interval):
    with pytest.raises(SystemExit):
        main(["top", str(path), f"--interval={interval}"])
