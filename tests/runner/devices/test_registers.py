"""Properties of every device, for any accesses of a guest."""

import copy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices import Board, make
from runner.devices.i8254counter import Counter
from runner.devices.i8259chip import Chip
from runner.devices.serial import LOOKS, Serial
from vmspec.devices.models import KINDS as MODELS
from vmspec.devices.virtio import VirtioModel
from vmspec.plan.plan import PlannedDevice, Slot
from vmspec.plan.resources import options

BOARD = Board(Path(), (Slot(0, 0, 64 << 20, 0),))
SIZES = (1, 2, 4, 8)
OFFSETS = st.integers(0, 9)
# Bytes that mean something to some register, so that random accesses get somewhere.
TELLING = st.sampled_from(
    [0x00, 0x01, 0x02, 0x03, 0x05, 0x07, 0x08, 0x0A, 0x0B, 0x0C, 0x10, 0x13, 0x1B, 0x60, 0x80, 0xAA]
)
VALUES = TELLING | st.integers(0, 255) | st.integers(0, (1 << 64) - 1)
ACCESSES = st.one_of(
    st.tuples(st.just("read"), OFFSETS, st.sampled_from(SIZES)),
    st.tuples(st.just("write"), OFFSETS, st.sampled_from(SIZES), VALUES),
    st.tuples(st.just("write"), OFFSETS, st.just(1), TELLING),
    st.tuples(st.just("receive"), st.binary(max_size=20)),
    st.tuples(st.just("pass"), st.integers(0, 3_000_000_000)),
)


# All kinds but the user's own, whose model is the test's own too (test_life_cycle.py), virtio's, whose registers are
# the transport's (virtio/test_mmio.py), the bridges, which have configuration space (pci/test_host.py,
# pci/test_lpc.py), fw_cfg, which writes to memory (test_fwcfg.py), and flash memory, which has a file (test_flash.py).
OTHERS = ("python", "pci-host", "lpc", "fw-cfg", "flash")
KINDS = [kind for kind, model in MODELS.items() if kind not in OTHERS and not issubclass(model, VirtioModel)]


def made(kind):
    """A fresh device of a kind, as a spec that says nothing of it has it."""
    model = MODELS[kind]()
    return make(PlannedDevice("d0", kind, options(model), model.regions()), BOARD)


def region(kind):
    """The name of the region of a device that has one."""
    return MODELS[kind]().regions()[0].name


every_kind = pytest.mark.parametrize("kind", KINDS)


def within(kind, accesses):
    """Those that do not reach beyond a region, as the bus splits an access that does."""
    firsts = getattr(made(kind), "regions", {region(kind): 0})
    claim = {firsts[r.name] + at for r in MODELS[kind]().regions() for at in range(r.size)}
    return [
        access
        for access in accesses
        if access[0] not in ("read", "write") or all(access[1] + at in claim for at in range(access[2]))
    ]


def do(guest, access):
    """One access, or one thing that happens outside the guest; what it shows."""
    match access:
        case ("read", offset, size):
            return guest.read(offset, size)
        case ("write", offset, size, value):
            return guest.write(offset, value & (1 << 8 * size) - 1, size)
        case ("receive", data):
            guest.flush()
            return guest.receive(data)
        case ("pass", ns):
            return guest.let_pass(ns)


def state(device):
    return {name: told(value) for name, value in vars(device).items() if name not in ("bus", "irq", "memory", "clock")}


def told(value):
    """A copy that is compared by what it has."""
    if isinstance(value, list):
        return [told(part) for part in value]
    return dict(vars(value)) if isinstance(value, Chip | Counter) else copy.copy(value)


@pytest.mark.long
@every_kind
@given(accesses=st.lists(ACCESSES, max_size=40))
def test_reads_fit_their_size_and_nothing_raises(plug, kind, accesses):
    guest = plug(made(kind), region=region(kind))
    for access in within(kind, accesses):
        value = do(guest, access)
        if access[0] == "read":
            assert 0 <= value < 1 << 8 * access[2]


@pytest.mark.long
@every_kind
@given(accesses=st.lists(ACCESSES, max_size=40))
def test_published_is_what_reading_gives_and_reading_changes_nothing(plug, kind, accesses):
    guest = plug(made(kind), region=region(kind))
    for access in [("pass", 0), *within(kind, accesses)]:
        do(guest, access)
        guest.flush()  # what is latched is ahead of the device until then
        before = state(guest.device)
        for (offset, size), value in guest.published.items():
            assert guest.device.read(*guest.place(offset), size) == value
        assert state(guest.device) == before


@pytest.mark.long
@every_kind
@given(accesses=st.lists(ACCESSES, max_size=40))
def test_an_interrupt_comes_only_once_the_registers_say_why(plug, kind, accesses):
    guest = plug(made(kind), region=region(kind))
    for access in within(kind, accesses):
        edges = guest.edges
        # One register at a time: a wide access is several, and its first may interrupt.
        if access[0] in ("read", "write") and access[2] > 1:
            continue
        do(guest, access)
        if guest.edges == edges + 1 and access[0] != "pass":
            assert guest.seen_at_edge == guest.published


@pytest.mark.long
@every_kind
@given(accesses=st.lists(ACCESSES, max_size=40))
def test_a_guest_cannot_tell_who_answers(plug, kind, accesses):
    served, alone = plug(made(kind), region=region(kind)), plug(made(kind), alone=True, region=region(kind))
    for access in within(kind, accesses):
        assert do(served, access) == do(alone, access)
        assert (served.level, served.edges, served.ends) == (alone.level, alone.edges, alone.ends)
    served.flush()
    assert served.text == alone.text


@given(chunks=st.lists(st.binary(max_size=40)), fcr=st.sampled_from([0x00, 0x01, 0x41, 0x81, 0xC1]), data=st.data())
def test_serial_input_arrives_whole_and_in_order(plug, chunks, fcr, data):
    """However chunks and the guest's reads, FIFO resets and loopback fall together."""
    guest = plug(Serial())
    guest.write(2, fcr)
    got = b""
    for chunk in chunks:
        guest.receive(chunk)
        match data.draw(st.sampled_from(["read", "reset", "loop", "nothing"])):
            case "reset":
                guest.write(2, fcr | 0x02)
            case "loop":
                guest.write(4, 0x10)
                guest.write(4, 0x02)
            case "read":
                for _ in range(data.draw(st.integers(0, 50))):
                    if guest.read(5) & 1:
                        got += bytes((guest.read(0),))
    for _ in range((LOOKS + 1) * len(b"".join(chunks))):
        if guest.read(5) & 1:
            got += bytes((guest.read(0),))
    assert got == b"".join(chunks)
