"""Tracepoints of tiny guests on the host's KVM, and hosts without tracepoints."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import tracer
from runner.kvm.errors import HostError
from runner.recording import process
from runner.recording.link import Link
from runner.recording.tracepoints import formats, perf
from runner.recording.tracepoints.perf import Tracepoints
from runner.session.session import run
from tests.fakes.processes import eventually
from tracer.analysis.tracepoints import by_vcpu
from vmspec.trace.events import EVENTS

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[4]
HLT = "f4"
THREE = f"e6 80 e6 80 e6 80 {HLT}"  # out 0x80, al, three times
FLOOD = "e6 80 eb fc"
EVENTS_ON = Path("/sys/kernel/tracing/events/kvm")


def reasons(events):
    return [row["exit"] for row in events if row["event"] == "kvm_userspace_exit" and row["a"] == 0]


def opened(number):
    """How many events a process has open."""
    count = 0
    for path in Path(f"/proc/{number}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            count += "perf_event" in str(path.readlink())
    return count


@pytest.fixture(scope="module")
def tracefs():
    """Has tracefs mounted where we may."""
    place = "/sys/kernel/tracing"
    mounting = os.geteuid() == 0 and not Path(place).is_mount()
    mounted = mounting and subprocess.run(["mount", "-t", "tracefs", "nodev", place], check=False).returncode == 0
    yield
    if mounted:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(scope="module")
def given_events(tracefs):
    """Skips where this host gives no tracepoints."""
    try:
        events = Tracepoints()
        events.open([threading.get_native_id()])
        events.close()
    except HostError as error:
        pytest.skip(f"no tracepoints here: {error}")


@pytest.fixture
def no_tracefs(monkeypatch, tmp_path):
    read = formats.read
    monkeypatch.setattr(formats, "read", lambda wanted: read(wanted, [tmp_path / "absent"]))


# A device that stops the recorder when it is written to, until the guest has ended.
STOPPING = """
import os
import signal
from runner.devices import Device
from runner.recording import process

class Keep(Device):
    def write(self, region, offset, size, value):
        os.kill(process._process.pid, signal.SIGSTOP)

    def close(self):
        os.kill(process._process.pid, signal.SIGCONT)
"""


@pytest.mark.usefixtures("given_events")
class TestGiven:
    def test_the_kernels_returns_to_userspace_are_the_rows(self, run_guest):
        trace = tracer.load(run_guest(THREE, trace={"tracepoints": "required"}).trace)
        events = trace.tracepoints.table.to_pylist()
        assert reasons(events) == ["io", "io", "io", "hlt"] == trace.table["reason"].to_pylist()

    def test_a_return_is_just_before_its_row(self, run_guest):
        trace = tracer.load(run_guest(THREE, trace={"tracepoints": True}).trace)
        returns = [row["t"] for row in trace.tracepoints.table.to_pylist() if row["event"] == "kvm_userspace_exit"]
        rows = trace.table.to_pylist()
        bounds = zip([0, *(row["t_entry"] for row in rows)], returns, (row["t_exit"] for row in rows), strict=False)
        assert [before < t < after for before, t, after in bounds] == [True] * 4

    def test_the_file_is_complete_and_in_order(self, run_guest):
        table = tracer.load(run_guest(THREE, trace={"tracepoints": True}).trace).tracepoints
        times = table.table["t"].to_pylist()
        assert (table.complete, table.lost, table.summary["rows"], times) == (True, [0], len(times), sorted(times))

    def test_every_vcpu_has_its_events(self, run_guest):
        trace = tracer.load(run_guest(THREE, vm={"vcpus": 3}, trace={"tracepoints": True}).trace)
        events = trace.tracepoints.table.to_pylist()
        each = [reasons([row for row in events if row["vcpu"] == vcpu]) for vcpu in range(3)]
        assert each == [["io", "io", "io", "hlt"]] * 3

    def test_a_guest_that_ends_before_the_recorder_has_the_rings(self, run_guest, monkeypatch):
        """Until then this process has the only mappings of them."""
        tell = Link.tell

        def late(self, descriptors=(), **values):
            if "tracepoints" in values:
                os.kill(process._process.pid, signal.SIGSTOP)
            tell(self, descriptors, **values)
            if "summary" in values:
                os.kill(process._process.pid, signal.SIGCONT)

        monkeypatch.setattr(Link, "tell", late)
        trace = tracer.load(run_guest(THREE, trace={"tracepoints": "required"}).trace)
        assert reasons(trace.tracepoints.table.to_pylist()) == ["io", "io", "io", "hlt"]

    def test_nothing_is_left_open_after_a_run(self, run_guest):
        """The recorder closes the events after its answer: that takes the kernel long."""
        for _ in range(3):
            trace = tracer.load(run_guest(THREE, trace={"tracepoints": "required"}).trace)
            assert reasons(trace.tracepoints.table.to_pylist()) == ["io", "io", "io", "hlt"]
        assert opened("self") == 0
        eventually(lambda: opened(process._process.pid) == 0, "the recorder has events open")

    def test_only_the_events_that_the_spec_names(self, run_guest):
        """The essential ones too, so that vmtrace can still join events and rows."""
        trace = tracer.load(run_guest(THREE, trace={"tracepoints": "required", "events": "kvm_pio"}).trace)
        names = {row["event"] for row in trace.tracepoints.table.to_pylist()}
        events = trace.tracepoints.table.column("event").combine_chunks().dictionary.to_pylist()
        assert (names <= set(events), events) == (True, ["kvm_entry", "kvm_exit", "kvm_userspace_exit", "kvm_pio"])
        assert [row["lost"] for row in by_vcpu(trace).to_pylist()] == [0]

    def test_nothing_is_left(self, run_guest, descriptors, tmp_path):
        run_guest(THREE, trace={"tracepoints": True})  # imports open what stays open
        before = descriptors()
        run_guest(THREE, trace={"tracepoints": True})
        files = sorted(path.name for path in tmp_path.glob("guest*.arrow*"))
        assert (descriptors(), files) == (before, ["guest.arrow", "guest.tracepoints.arrow"])

    def test_nothing_is_switched_on_for_others(self, write_spec, tmp_path):
        """While it runs and after a kill; and what the killed run recorded can be had."""
        spec = write_spec(FLOOD, trace={"tracepoints": "required"})
        process = subprocess.Popen([sys.executable, "-m", "runner.cli", spec], cwd=ROOT, stderr=subprocess.PIPE)
        stream = tmp_path / "guest.tracepoints.arrows"
        end = time.monotonic() + 20
        while not (stream.exists() and stream.stat().st_size > 1 << 20):
            assert time.monotonic() < end
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        during = enabled()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert (during, enabled()) == (set(), set())
        eventually(lambda: not (tmp_path / "guest.ring").exists(), "the recorder does not end")
        table = tracer.load(tmp_path / "guest.arrow").tracepoints
        assert (table.complete, table.summary["rows"]) == (True, table.table.num_rows)
        assert not stream.exists()

    def test_an_old_table_of_another_run_is_not_taken(self, run_guest):
        run_guest(THREE, trace={"tracepoints": True})
        assert tracer.load(run_guest(THREE).trace).tracepoints is None

    def test_a_full_ring_loses_events_and_stops_nobody(self, run_guest, monkeypatch):
        """No event comes after the lost ones, so the kernel puts no record of them into the ring."""
        monkeypatch.setattr(perf, "RING", 4096)
        code = f"e6 90 b9 00 20 e6 80 e2 fc {HLT}"  # 8,192 exits, once the recorder stands still
        device = {"kind": "python", "class": "keep:Keep", "port": [0x90, 1]}
        result = run_guest(code, trace={"tracepoints": True}, devices=[device], files={"keep.py": STOPPING})
        table = tracer.load(result.trace).tracepoints
        assert (result.kind, result.counters["io"], table.lost[0] > 8192) == ("halt", 8193, True)
        assert [note for note in result.notes if "events were lost" in note]

    def test_without_rights(self, write_spec, tmp_path):
        """As another user, who may use KVM all the same."""
        if os.geteuid() != 0:
            pytest.skip("needs root to become another user")
        script = (
            "import os, threading\nfrom runner.recording.tracepoints.perf import Tracepoints\n"
            "from runner.kvm.errors import HostError\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "try: Tracepoints().open([threading.get_native_id()])\n"
            "except HostError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert "CAP_PERFMON" in done.stdout, done.stderr

    def test_perf_refuses(self):
        events = Tracepoints()
        with pytest.raises(HostError, match="perf_event_open of kvm_entry: No such process"):
            events.open([(1 << 22) + 1])
        events.close()


def enabled():
    """Names of KVM's tracepoints that are on in tracefs."""
    return {name for name in EVENTS if (EVENTS_ON / name / "enable").read_text().strip() != "0"}


@pytest.mark.usefixtures("no_tracefs")
class TestNotGiven:
    def test_required_is_the_hosts_fault(self, run_guest, tmp_path):
        with pytest.raises(HostError, match=r'trace\.tracepoints = "required", but tracefs is not mounted: as root'):
            run_guest(HLT, trace={"tracepoints": "required"})
        assert list(tmp_path.glob("guest.*")) == [tmp_path / "guest.toml"]

    def test_else_it_is_said_and_the_guest_runs(self, write_spec):
        said = []
        result = run(write_spec(HLT, trace={"tracepoints": True}), notice=said.append)
        assert (result.kind, tracer.load(result.trace).tracepoints) == ("halt", None)
        assert "tracepoints are not recorded (trace.tracepoints): tracefs is not mounted" in said[0]

    def test_without_a_trace_nothing_is_asked(self, write_spec):
        assert run(write_spec(HLT, trace={"tracepoints": "required"}), record=False).kind == "halt"


def test_required_fails_when_the_events_cannot_be_opened(run_guest, monkeypatch, tmp_path, given_events):
    def refuse(self, threads):
        raise HostError(perf.refused("kvm_entry", 1))

    monkeypatch.setattr(Tracepoints, "open", refuse)
    with pytest.raises(HostError, match=r"kernel\.perf_event_paranoid=-1"):
        run_guest(HLT, trace={"tracepoints": "required"})
    assert list(tmp_path.glob("guest.*")) == [tmp_path / "guest.toml"]


def test_the_guest_runs_when_the_events_cannot_be_opened(write_spec, monkeypatch, given_events):
    def refuse(self, threads):
        raise HostError(perf.refused("kvm_entry", 24))

    monkeypatch.setattr(Tracepoints, "open", refuse)
    said = []
    result = run(write_spec(HLT, trace={"tracepoints": True}), notice=said.append)
    assert (result.kind, "ulimit -n" in said[0]) == ("halt", True)


def test_vmrun_ends_with_3(write_spec):
    """In a mount namespace with nothing at tracefs' place."""
    script = 'umount -l /sys/kernel/tracing 2>/dev/null; umount -l /sys/kernel/debug 2>/dev/null; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "runner.cli"]
    spec = write_spec(HLT, trace={"tracepoints": "required"})
    done = subprocess.run([*command, spec], cwd=ROOT, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert (done.returncode, "tracefs is not mounted" in done.stderr) == (3, True), done.stderr
