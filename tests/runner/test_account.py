"""The account of time of real vCPUs: guests that hang, spin, halt and wait for a device, each to its run's end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tracer
from runner.native import _native
from tests.fakes.processes import children, eventually
from tracer.analysis.account import account
from tracer.analysis.summary import summarise
from tracer.analysis.timeline import timeline
from tracer.read.recovery import recover
from tracer.read.ringfile import RingFile

PARTS = ("start_ns", "kvm_run_ns", "handling_ns", "paused_ns", "stopped_ns")
PRINT = "ba f8 03 b0 61 ee b0 0a ee"  # "a" and a line feed to COM1
HANG = f"{PRINT} f4 eb fd"  # then hlt, for ever
SPIN = f"{PRINT} eb fe"
SERIAL = {"kind": "serial", "input": "none"}
SHORT = {"timeout": "300ms", "irqchip": "kernel"}
TIMEOUT = 300_000_000

KEEP = """
from runner.devices import Device

class Keep(Device):
    count = 0x2F

    def read(self, region, offset, size):
        self.count += 1
        return self.count
"""
KEEPER = {"kind": "python", "class": "keep:Keep", "port": [0x300, 1]}


def lives(result):
    """The account of each vCPU; its parts are the length of the run."""
    trace = tracer.load(result.trace)
    found = account(trace)
    assert found.end == trace.summary["duration_ns"] == round(result.seconds * 1e9)
    for life in found.vcpus.values():
        parts = [getattr(life, part) for part in PARTS]
        assert (sum(parts), min(parts) >= 0) == (found.end, True)
        assert life.halted_ns is None or 0 <= life.halted_ns <= life.kvm_run_ns
    return list(found.vcpus.values())


@pytest.mark.kvm
@pytest.mark.parametrize("code", [HANG, SPIN])
def test_a_guest_without_exits_is_in_kvm_run_to_the_end(run_guest, code):
    [life] = lives(run_guest(code, vm=SHORT, devices=[SERIAL]))
    assert (life.exits, life.stopped_ns) == (2, 0)
    assert life.kvm_run_ns == life.end - life.start_ns - life.handling_ns > TIMEOUT // 2


@pytest.mark.kvm
def test_a_guest_that_spins_has_not_halted(run_guest):
    [life] = lives(run_guest(SPIN, vm=SHORT, devices=[SERIAL]))
    assert life.halted_ns in (None, 0)


@pytest.mark.kvm
def test_the_silence_after_the_last_line_leads_the_timeline(run_guest):
    result = run_guest(HANG, vm=SHORT, devices=[SERIAL])
    lines = timeline(tracer.load(result.trace)).lines.to_pylist()
    assert (lines[-1]["line"], lines[-1]["t_ns"]) == (None, lives(result)[0].end)
    assert lines[-1]["gap_ns"] == lines[-1]["t_ns"] - lines[0]["t_ns"] > TIMEOUT // 2


@pytest.mark.kvm
def test_a_vcpu_that_halts_early_has_stopped(run_guest, assemble):
    # Each vCPU takes a number from the device; number 0 spins.
    code = assemble("mov $0x300, %dx\n in %dx, %al\n 1: cmp $0x30, %al\n je 1b\n hlt")
    result = run_guest(code, vm={"vcpus": 2, "timeout": "300ms"}, files={"keep.py": KEEP}, devices=[KEEPER])
    halted, spun = sorted(lives(result), key=lambda life: life.kvm_run_ns)
    assert (halted.exits, spun.exits, spun.stopped_ns) == (2, 1, 0)
    assert halted.stopped_ns > TIMEOUT // 2 > halted.kvm_run_ns


@pytest.mark.kvm
def test_a_vcpu_that_makes_no_exit_has_an_account(run_guest):
    [life] = lives(run_guest("eb fe", vm=SHORT))
    assert (life.exits, life.handling_ns, life.kvm_run_ns > TIMEOUT // 2) == (0, 0, True)


SLOW = """
import time
from runner.devices import Device

class Keep(Device):
    def read(self, region, offset, size):
        time.sleep(2)
        return 0
"""


@pytest.mark.kvm
def test_the_time_of_a_device_that_does_not_come_back_is_handling(run_guest, monkeypatch):
    monkeypatch.setattr("runner.machine.machine.PATIENCE", 0.2)
    begin = time.monotonic()
    result = run_guest("ba 00 03 ec f4", vm={"timeout": "300ms"}, files={"keep.py": SLOW}, devices=[KEEPER])
    time.sleep(max(2.5 - (time.monotonic() - begin), 0))  # the thread comes back to a machine that is still there
    [life] = lives(result)
    assert (result.kind, life.exits, life.open is not None) == ("device-error", 0, True)
    assert life.handling_ns == life.stop - life.open > TIMEOUT // 2 > life.kvm_run_ns


@pytest.mark.kvm
def test_the_summary_s_parts_are_the_account_s(run_guest):
    result = run_guest(HANG, vm=SHORT, devices=[SERIAL])
    [row] = summarise(tracer.load(result.trace)).tables["vcpu"].to_pylist()
    [life] = lives(result)
    assert [row[part] for part in (*PARTS, "halted_ns")] == [getattr(life, part) for part in (*PARTS, "halted_ns")]


@pytest.mark.kvm
def test_a_killed_run_lasts_until_its_recorder_was_last_alive(write_spec, tmp_path):
    spec = write_spec(HANG, vm={"irqchip": "kernel"}, devices=[SERIAL])
    vmrun = subprocess.Popen([Path(sys.executable).parent / "vmrun", spec], stdout=subprocess.DEVNULL)
    ring = tmp_path / "guest.ring"
    while not ring.exists() or not _seen(ring) > 2_000_000_000:  # two turns of a recorder that has nothing to do
        assert vmrun.poll() is None
        time.sleep(0.05)
    [recorder] = children(vmrun.pid)
    vmrun.send_signal(signal.SIGSTOP)
    os.kill(recorder, signal.SIGKILL)
    vmrun.kill()
    vmrun.wait()
    recover(tmp_path / "guest.arrow")
    trace = tracer.load(tmp_path / "guest.arrow")
    [life] = account(trace).vcpus.values()
    assert life.end == trace.summary["duration_ns"] > 2_000_000_000
    assert (life.stopped_ns, life.exits) == (0, 2)
    assert life.start_ns == trace.summary["start_ns"][0] > 0


@pytest.mark.kvm
def test_a_run_whose_vmrun_is_killed_lasts_until_then(write_spec, tmp_path):
    spec = write_spec(HANG, vm={"irqchip": "kernel"}, devices=[SERIAL])
    vmrun = subprocess.Popen([Path(sys.executable).parent / "vmrun", spec], stdout=subprocess.DEVNULL)
    while not _seen(tmp_path / "guest.ring") > 100_000_000:
        assert vmrun.poll() is None
        time.sleep(0.05)
    vmrun.kill()
    vmrun.wait()
    eventually((tmp_path / "guest.arrow").exists, "no trace")
    trace = tracer.load(tmp_path / "guest.arrow")
    [life] = account(trace).vcpus.values()
    assert life.end == trace.summary["duration_ns"] > 100_000_000
    assert (life.stopped_ns, life.exits) == (0, 2)


def _seen(ring):
    try:
        with RingFile(ring) as rings:
            return rings.nanoseconds(rings.tsc_seen) or 0
    except tracer.TraceError:
        return 0


def test_the_stamps_of_a_vcpu(loop):
    rings = loop.rings
    assert [rings.stamps(name) for name in ("start", "stop", "open")] == [[None], [None], [None]]
    loop.go_on()  # KVM_RUN fails: the thread stops there
    assert rings.counters("thread") == [os.getpid()]
    [start], [stop] = rings.stamps("start"), rings.stamps("stop")
    assert 0 <= start <= stop == rings.length()
    _native.lib.vcpu_finish(loop.vcpu)
    assert rings.stamps("stop") == [stop]


def test_an_exit_that_is_being_handled_is_open(loop):
    rings = loop.rings
    loop.exit(5)
    [opened], stop = rings.stamps("open"), rings.stamps("stop")
    assert (opened is None, stop) == (False, [None])
    assert rings.length() >= opened
    _native.lib.vcpu_finish(loop.vcpu)
    assert rings.stamps("open") == [None]
    assert rings.length() == rings.stamps("stop")[0] >= opened
