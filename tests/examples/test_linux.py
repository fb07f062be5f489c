"""The demo: Linux boots on this host's KVM or in the lab, and its trace is summarised. test_demo.py has its steps."""

import subprocess
import sys
from pathlib import Path

import pytest

import tracer

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("linux")]

LINUX = Path(__file__).parents[2] / "examples" / "linux"


@pytest.fixture(scope="module")
def demo():
    """What the demo printed; the trace is its own, not one of before."""
    (LINUX / "linux.arrow").unlink(missing_ok=True)
    return subprocess.run([sys.executable, LINUX / "demo.py"], capture_output=True, text=True, check=False)


def test_the_demo_succeeds(demo):
    assert demo.returncode == 0, demo.stdout + demo.stderr


def test_it_says_where_it_runs(demo):
    steps = [line for line in demo.stdout.splitlines() if line.startswith("== vmrun")]
    assert "on this host's KVM" in steps[-1] or "in the lab" in steps[-1]


def test_it_shows_the_console(demo):
    assert "vmrun: userspace" in demo.stdout.splitlines()


def test_it_shows_the_summary(demo):
    assert "Exits by device" in demo.stdout.partition("== vmtrace summary")[2]


def test_it_leaves_a_complete_trace(demo):
    trace = tracer.load(LINUX / "linux.arrow")
    assert (trace.complete, trace.summary["result"]["kind"]) == (True, "reset"), demo.stderr
