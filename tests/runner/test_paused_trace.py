"""When a real guest was paused, as its trace tells it."""

import json
import subprocess
import sys

import pytest
import tomli_w

import runner
import tracer
from tests.fakes.processes import eventually
from tracer.analysis.account import account, pauses
from tracer.analysis.timeline import timeline
from vmspec.trace.record import FLAGS

pytestmark = pytest.mark.kvm

PARTS = ("start_ns", "kvm_run_ns", "handling_ns", "paused_ns", "stopped_ns")
# Each vCPU prints lines, and counts between them.
LINES = """
1:  mov $'a', %al
    out %al, $0xe9
    mov $10, %al
    out %al, $0xe9
    mov $1000, %cx
2:  loop 2b
    jmp 1b
"""
PAUSED = 4  # times


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, assemble):
    """A run of two vCPUs that was paused as it began, twice between two lines, and when it was stopped; its trace."""
    spec = tmp_path_factory.mktemp("paused") / "guest.toml"
    tables = {
        "vm": {"name": "guest", "memory": "1MiB", "vcpus": 2, "timeout": "600s"},
        "boot": {"mode": "real", "code": assemble(LINES).hex(" ")},
        "device": [{"kind": "debug-port", "output": "none"}],
        "trace": {"path": "guest.arrow"},
    }
    spec.write_text(tomli_w.dumps(tables))
    with runner.start(spec) as run:
        assert run.pause()
        assert run.resume()
        counters = run._session.recording.rings.counters
        for number in range(1, PAUSED):
            before = counters("head")
            eventually(
                lambda before=before: all(map(int.__lt__, before, counters("head"))), "a vCPU comes to no other exit"
            )
            assert run.pause()
            if number < PAUSED - 1:
                assert run.resume()
        run.stop()
        return tracer.load(run.result(60).trace)


def test_every_pause_is_known(recorded):
    """Of each vCPU; they are what the account says, to the nanosecond."""
    for life in account(recorded).vcpus.values():
        assert sum(getattr(life, part) for part in PARTS) == life.end == recorded.summary["duration_ns"]
        assert sum(end - start for start, end in life.pauses) == life.paused_ns
        assert PAUSED - 1 <= len(life.pauses) <= PAUSED  # a vCPU may not have begun at the first
    assert PAUSED - 1 <= len(pauses(recorded)) <= PAUSED + 1  # one may begin in the midst of the first, and then stop


def test_a_pause_is_between_two_rows_of_which_the_second_says_so(recorded):
    rows = recorded.table.to_pylist()
    for vcpu, life in account(recorded).vcpus.items():
        ours = [row for row in rows if row["vcpu"] == vcpu]
        times = [life.start, *(row["t_entry"] for row in ours)]
        after = [row["t_exit"] for row in ours]
        flagged = {row["t_exit"] for row in ours if row["flags"] & FLAGS["PAUSED"]}
        for start, end in life.pauses:
            entered = max(t for t in times if t <= start)
            left = min((t for t in after if t >= entered), default=life.stop)
            assert entered <= start <= end <= left
            flagged.discard(left)
        assert flagged == set()


def test_the_timeline_leaves_them_out(recorded):
    found = timeline(recorded)
    stood = sum(found.pauses["time_ns"].to_pylist())
    assert sum(found.lines["paused_ns"].to_pylist()) == stood > 0
    assert sum(found.lines["gap_ns"].to_pylist()) == recorded.summary["duration_ns"] - stood


def test_a_viewer_has_slices_of_them(recorded, tmp_path):
    out = tmp_path / "trace.json"
    command = [sys.executable, "-m", "tracer.cli", "export", "--chrome", recorded.path, "-o", out]
    subprocess.run(command, check=True, capture_output=True)
    events = json.loads(out.read_text())["traceEvents"]
    for vcpu, life in account(recorded).vcpus.items():
        stood = [event for event in events if event["name"] == "paused" and event["tid"] == vcpu]
        assert [(event["ts"], event["ph"]) for event in stood] == [(start / 1000, "X") for start, _ in life.pauses]
