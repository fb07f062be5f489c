"""States of devices as trees."""

import pytest

from runner.control.inspection.states import plain
from runner.devices.state import State, bits, flag, number_or_none, octets, part, parts
from runner.devices.virtio.common import QueueState
from runner.memory import GuestMemory
from vmspec.plan.calls import Slot


class InnerState(State):
    wide: int = bits((1 << 40) - 1)


class OuterState(State):
    VERSION = 3

    on: bool = flag()
    timer: int | None = number_or_none(0, 100)
    data: bytes = octets(1000)
    inner: InnerState = part(InnerState)
    more: tuple[InnerState, ...] = parts(InnerState, 4)


@pytest.fixture
def memory():
    made = GuestMemory((Slot(0, 0, 1 << 20, 0),))
    yield made
    made.close()


def test_every_rule_has_its_form(memory):
    inner = InnerState(wide=0x1234)
    state = OuterState(on=True, timer=None, data=b"ab", inner=inner, more=(inner, inner))
    shown = {"version": 1, "wide": "0x0000001234"}
    assert plain(state, memory) == {
        "version": 3, "on": True, "timer": None, "data": "61 62", "inner": shown, "more": {"0": shown, "1": shown},
    }  # fmt: skip


def test_long_buffers_are_cut(memory):
    inner = InnerState(wide=0)
    state = OuterState(on=False, timer=5, data=b"a" * 1000, inner=inner, more=())
    assert plain(state, memory)["data"] == "61 " * 63 + "61 … (1,000 bytes)"


def queue(**values):
    usual = {"size": 8, "ready": True, "descriptors": 0x1000, "driver": 0x2000, "device": 0x3000, "taken": 5, "put": 4}
    return QueueState(**usual | values)


def test_a_queue_has_the_indices_of_its_rings(memory):
    memory.write(0x2002, (7).to_bytes(2, "little"))
    memory.write(0x3002, (4).to_bytes(2, "little"))
    shown = plain(queue(), memory)
    assert (shown["available"], shown["used"], shown["waiting"]) == (7, 4, 2)
    assert plain(queue(taken=65535), memory)["waiting"] == 8


@pytest.mark.parametrize("values", [{"ready": False}, {"driver": 1 << 40}, {"device": (1 << 64) - 2}])
def test_a_queue_without_rings_has_none(memory, values):
    assert "available" not in plain(queue(**values), memory)
