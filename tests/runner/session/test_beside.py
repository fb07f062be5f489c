"""Runs in another thread."""

import threading
from pathlib import Path

import pytest

import runner
import tracer
from vmspec import SpecError

pytestmark = pytest.mark.kvm

HLT = "f4"
SPIN = "eb fe"  # jmp to itself: no exits


def test_a_run_that_ends_by_itself(write_spec):
    result = runner.start(write_spec("b0 41 e6 e9 f4", devices=[{"kind": "debug-port"}])).result()
    assert (result.kind, result.status, result.console) == ("halt", 0, b"A")


def test_a_run_that_is_stopped(write_spec):
    run = runner.start(write_spec(SPIN))
    run.stop()
    result = run.result()
    assert (result.kind, result.status, tracer.load(result.trace).complete) == ("interrupted", 130, True)


def test_a_run_that_has_ended_cannot_be_stopped(write_spec):
    run = runner.start(write_spec(HLT))
    result = run.result()
    run.stop()
    assert (result.kind, run.result()) == ("halt", result)


def test_a_run_that_goes_on_has_no_result_yet(write_spec):
    with runner.start(write_spec(SPIN)) as run, pytest.raises(TimeoutError):
        run.result(0.05)


def test_a_block_ends_its_run(write_spec):
    before = threading.active_count()
    with runner.start(write_spec(SPIN)) as run:
        pass
    assert (threading.active_count(), run.result(0).kind) == (before, "interrupted")


def test_what_is_wrong_with_a_spec_is_raised_at_the_start(tmp_path):
    (tmp_path / "guest.toml").write_text("[vm]\nname = 1\n")
    with pytest.raises(SpecError):
        runner.start(tmp_path / "guest.toml")


def test_what_the_host_lacks_is_raised_at_the_start(write_spec, lacking, tmp_path):
    lacking("KVM_CAP_IMMEDIATE_EXIT")
    before = threading.active_count()
    with pytest.raises(runner.HostError):
        runner.start(write_spec(HLT))
    assert (threading.active_count(), [path.name for path in Path(tmp_path).iterdir()]) == (before, ["guest.toml"])


def test_an_interrupt_while_it_begins_ends_it(write_spec, monkeypatch, tmp_path):
    from runner.session.session import Session

    monkeypatch.setattr(Session, "_started", lambda session: None)  # it never says that the guest runs
    waits = threading.Event.wait

    def interrupted(event, timeout=None):
        if threading.current_thread() is threading.main_thread() and timeout is None:
            monkeypatch.setattr(threading.Event, "wait", waits)
            raise KeyboardInterrupt
        return waits(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        runner.start(write_spec(SPIN))
    assert threading.active_count() == before


def test_devices_report_a_problem_once_and_not_without_end(write_spec):
    """What a guest does may be in the text."""
    said = []
    with runner.start(write_spec(SPIN), notice=said.append, record=False) as run:
        for number in range(300):
            run._session._report_of_device(f"virtio-console0: port 0 sends {number % 150} bytes")
    last = "devices report more than 100 problems: the others are left out"
    assert (len(said), len(set(said)), said[-1]) == (101, 101, last)


def test_two_runs_at_once(write_spec, tmp_path):
    with (
        runner.start(write_spec(SPIN), record=False) as one,
        runner.start(write_spec("f4"), record=False) as two,
    ):
        assert two.result(20).kind == "halt"
        with pytest.raises(TimeoutError):
            one.result(0)
