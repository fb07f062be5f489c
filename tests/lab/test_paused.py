"""Linux, paused and resumed some times while it says what time it has; and the test of the TSC that needs a host whose
KVM takes its offset."""

import json
import re
from itertools import pairwise

import pytest

import tracer
from tests.lab.beside import VCPUS
from tests.lab.test_boot import EXPECTED, SUSPICIOUS
from tracer.analysis.account import pauses, within
from tracer.analysis.timeline import kernel_time, timeline

pytestmark = [pytest.mark.lab, pytest.mark.stay("beside")]

PAUSES, LENGTH = 5, 1_200_000_000  # of inside/paused.py; ns
TICK = re.compile(r"tick (\d) (\d+) (\d+\.\d+)")  # processor, number, uptime
LATE = 1.0  # seconds that a line may come after its time in the emulated host; less than one pause


class Stay:
    """What it left: ``result`` of inside/paused.py, the guest's trace, and what the TSC counted."""

    def __init__(self, folder):
        self.result = json.loads((folder / "result.json").read_text())
        self.trace = tracer.load(folder / "trace.arrow")
        self.tsc = json.loads((folder / "tsc.json").read_text())
        self.lines = [(row["t_ns"], row["line"]) for row in timeline(self.trace).lines.to_pylist() if row["line"]]
        self.ticks = [(t, line, TICK.search(line)) for t, line in self.lines if TICK.search(line)]


@pytest.fixture(scope="module")
def stay(lab):
    return Stay(lab.beside("paused"))


def test_the_guest_ends_as_ever_and_every_pause_is_known(stay):
    assert (stay.result["kind"], stay.result["status"]) == ("reset", 0)
    # A vCPU may leave a pause only after another one stands in the next: then the machine also stood for that moment.
    long = [end - start for start, end in pauses(stay.trace) if end - start > LENGTH * 0.9]
    assert len(long) == PAUSES


def test_the_tscs_of_all_vcpus_keep_one_offset(stay):
    offsets = stay.result["offsets"]
    assert [len(set(each)) for each in offsets] == [1] * PAUSES
    assert all(1 << 63 > (before[0] - after[0]) % (1 << 64) > 0 for before, after in pairwise(offsets))


@pytest.mark.parametrize("clock", ["uptime", "kernel's log"])
@pytest.mark.parametrize("cpu", range(VCPUS))
def test_the_guests_clocks_run_beside_the_hosts_and_stand_still_in_pauses(stay, clock, cpu):
    """No jump, no stall, no sleep without its timer: between any two ticks, and over all of them."""
    stood = pauses(stay.trace)
    ticks = [
        (t, float(found[3]) if clock == "uptime" else kernel_time(line) / 1e9)
        for t, line, found in stay.ticks
        if int(found[1]) == cpu
    ]
    assert len(ticks) == 60
    assert within(ticks[0][0], ticks[-1][0], stood) > LENGTH  # and it was paused meanwhile
    for (host, guest), (later, then) in (*pairwise(ticks), (ticks[0], ticks[-1])):
        assert then >= guest
        assert abs((later - host - within(host, later, stood)) / 1e9 - (then - guest)) < LATE


def test_linux_complains_of_nothing(stay):
    lines = [line for _, line in stay.lines if SUSPICIOUS.search(line)]
    assert [line for line in lines if not any(text in line for text, _ in EXPECTED)] == []


def test_a_flat_guest_does_not_see_a_pause_in_its_tsc(stay):
    counted, most = stay.tsc
    assert 0 < counted <= most
