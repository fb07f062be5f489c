"""The largest number of vCPUs."""

import pytest

import tracer

pytestmark = pytest.mark.kvm

EXITS = 400
# mov cx, 400; out 0x80, al; loop; hlt: on each vCPU
CODE = f"b9 {(EXITS & 0xFF):02x} {EXITS >> 8:02x} e6 80 e2 fc f4"


def test_every_vcpu_gets_to_its_end_through_a_small_ring(run_guest):
    result = run_guest(CODE, vm={"vcpus": 254, "timeout": "120s"}, trace={"ring": 64})
    rows = tracer.load(result.trace).summary["rows"]
    assert (result.kind, result.status, rows) == ("halt", 0, [EXITS + 1] * 254)


def test_vcpus_that_wait_do_not_keep_the_recorder_from_its_work(run_guest):
    """Each fills its ring of 64 again and again, and the end of the run finds none that has to drop an exit."""
    result = run_guest("e6 80 eb fc", vm={"vcpus": 254, "timeout": "6s"}, trace={"ring": 64})
    rows = tracer.load(result.trace).summary["rows"]
    assert (result.kind, result.counters["dropped"], min(rows) > 128) == ("timeout", 0, True)
