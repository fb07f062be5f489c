"""The transfers of device models, and too little memory for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.kvm.errors import HostError
from runner.memory import GuestMemory
from runner.native._native import lib
from runner.replay import modelleddma
from runner.replay.modelleddma import PAYLOAD, ModelledDMA
from vmspec.plan.calls import Slot

SIZE = 4 * PAYLOAD


@pytest.fixture(scope="module")
def memory():
    made = GuestMemory((Slot(0, 0, SIZE, 0),))
    yield made
    made.close()


@pytest.fixture
def dma(memory):
    made = ModelledDMA(memory)
    made.begin()
    made.acts(3)
    yield made
    made.end()


def fail(monkeypatch, error, after):
    """Have the transfer with this number, and all later ones, raise an error as they are taken."""
    made = []

    def transfer(*values):
        made.append(values)
        if len(made) > after:
            raise error
        return real(*values)

    real = modelleddma.Transfer
    monkeypatch.setattr(modelleddma, "Transfer", transfer)


def test_one_call_may_transfer_more_than_the_ring_has_room_for(memory, dma):
    data = bytes(range(256)) * (SIZE // 256)
    memory.write(0, data)
    assert memory.read(0, SIZE) == data
    dma.acted()
    written, read = ([each for each in dma.done if each.direction == what] for what in ("write", "read"))
    for each in (written, read):
        assert b"".join(one.data for one in each) == data
        assert [one.addr for one in each] == [*range(0, SIZE, lib.DMA_PIECE)]
    assert {one.device for one in dma.done} == {3}


@given(st.lists(st.integers(1, 3 * lib.DMA_PIECE), min_size=1, max_size=6))
def test_what_comes_in_steps_is_in_the_same_pieces(memory, steps):
    """How many steps a host takes to read a file is not the guest's doing."""
    dma, pieces = ModelledDMA(memory), []
    for parts in (steps, [sum(steps)]):
        dma.begin()
        dma.acts(3)
        at = 0
        for size in parts:
            memory.write(at, bytes(size))
            at += size
        dma.acted()
        dma.end()
        pieces.append([(each.addr, len(each.data)) for each in dma.done])
        dma.done.clear()
    assert pieces[0] == pieces[1]


@pytest.mark.parametrize("size", [8, SIZE])
@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (MemoryError(), HostError, "^too little memory for what a device's model reads and writes at one exit$"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_an_error_while_they_are_taken_ends_the_call(memory, dma, monkeypatch, capfd, size, error, raised, message):
    """Whether the ring became full during the call, which C would only print, or not."""
    fail(monkeypatch, error, 0 if size == 8 else 20)
    memory.write(0, bytes(size))
    with pytest.raises(raised, match=message):
        dma.acted()
    assert capfd.readouterr().err == ""
