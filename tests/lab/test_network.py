"""Debian's own network driver and vmrun's device, in the lab: the example, through user mode and through a tap."""

import re
from collections import Counter

import pytest

import tracer
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.stay("beside")]

RUNS = ("user.1", "tap.1")


@pytest.fixture(scope="module")
def stay(lab):
    return lab.beside("network")


@pytest.mark.parametrize("run", RUNS)
def test_the_guest_gets_its_address_and_the_page(stay, run):
    said = (stay / run).read_text() + (stay / f"{run}.log").read_text()
    assert (stay / f"{run}.status").read_text().strip() == "0", said
    assert f"network: address {'10.0.2.15' if run.startswith('user') else '10.9.0.2'}/24" in said
    assert "this host's page" in said
    assert "virtio-net0" not in said  # vmrun has nothing to say of the device


def test_each_vm_has_the_address_of_its_plan(stay):
    """The same in each run, and another for another VM (tests/vmspec/test_planner.py)."""
    for run in RUNS:
        [mac] = [device.options["mac"] for device in Document.open(stay / f"{run[:-2]}.toml").plan().devices
                 if device.kind == "virtio-net"]  # fmt: skip
        assert f"network: mac {mac}\n" in (stay / run).read_text().replace("\r", "")


@pytest.mark.parametrize("spec", ["user", "tap"])
def test_every_frame_is_a_request_in_the_trace(stay, spec):
    requests = tracer.load(stay / f"{spec}.arrow").tables["requests"]
    rows = requests.table.to_pylist()
    assert requests.complete
    kinds = Counter(row["kind"] for row in rows)
    assert kinds["transmit"] > 3
    assert kinds["receive"] > 3
    assert {row["status"] for row in rows if row["kind"] != "control"} == {"ok"}
    assert all(14 <= row["length"] <= 69632 for row in rows if row["kind"] in ("transmit", "receive"))


def test_a_tap_that_was_there_stays_as_it_was(stay):
    addresses = [re.search(r"inet \S+", (stay / name).read_text())[0] for name in ("before", "after")]
    assert addresses == ["inet 10.9.0.1/24"] * 2
