"""The life of every device: started, reset, saved, loaded into another. A new kind is tested automatically."""

import json
import os
import socket
from collections import deque
from contextlib import ExitStack
from functools import cache
from itertools import zip_longest
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends import pmem
from runner.backends.disk import Disk
from runner.backends.vhost.backend import BackEnd
from runner.backends.vhost.session import Session
from runner.devices import TABLE, Board, Device, fwcfg, make, own
from runner.devices.state import (
    Bits,
    Flag,
    Number,
    Octets,
    OneOf,
    Part,
    Parts,
    State,
    StateError,
    bits,
    number,
    octets,
)
from runner.memory import GuestMemory
from runner.snapshot.states import from_tree, tree
from tests.fakes.examples import DEAR
from tests.fakes.fakeflash import FlashFile
from tests.fakes.netfakes import Wire
from tests.fakes.vhostbackend import EVERYTHING, REPLY_ACK, FakeBackEnd
from tests.fakes.virtiodriver import CONFIGURATION, REGIONS, Driver, PCIDriver
from tests.fakes.virtqueuefake import Buffer
from tests.fakes.vsockfakes import NoSockets
from tests.runner.devices.virtio.test_datapath import until
from vmspec import layout
from vmspec.devices.models import KINDS
from vmspec.devices.virtio import VirtioModel
from vmspec.plan.plan import PlannedDevice, Slot
from vmspec.plan.resources import options
from vmspec.plan.settings import PlannedMemory
from vmspec.registers import virtio as R
from vmspec.registers import virtiopci as V

TRANSPORTS = ("mmio", "pci")
OWN = """
from runner.devices import Device
from runner.devices.state import State, bits, octets
from runner.devices.virtio import VirtioDevice


class CounterState(State):
    count: int = bits(0xFF)
    heard: bytes = octets(1 << 16)


class Counter(Device):
    state_class = CounterState

    def __init__(self):
        self.count = 0
        self.heard = b""

    def start(self):
        self.bus.shadow("port", 0, self.count)

    def reset(self):
        self.__init__()
        self.start()

    def load(self, state):
        super().load(state)
        self.start()

    def receive(self, data):
        self.heard += data

    def read(self, region, offset, size):
        return len(self.heard)

    def write(self, region, offset, size, value):
        self.count = self.count + value & 0xFF
        self.bus.shadow("port", 0, self.count)
"""
OWN += """

class AnswersState(State):
    count: int = bits(0xFF)


class Answers(VirtioDevice):
    number = 42
    queue_sizes = (8,)
    features = 1
    state_class = AnswersState

    def __init__(self):
        self.count = 0

    def configuration(self):
        return bytes((self.count,))

    def request(self, queue, chain):
        self.count = self.count + 1 & 0xFF
        return chain.write(bytes((self.count,)) * 3)

    def reset(self):
        self.count = 0

    def save(self):
        return AnswersState(count=self.count)

    def load(self, state):
        self.count = state.count
"""
VALUES = st.sampled_from(bytes.fromhex("00 01 02 03 05 07 08 0a 0b 0c 0d 10 13 1b 20 60 80 aa c0 d0 d1 ed f0 f2 ff"))
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 63)),
        st.tuples(st.just("write"), st.integers(0, 63), VALUES | st.integers(0, 255)),
        st.tuples(st.just("receive"), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("pass"), st.integers(0, 3_000_000_000)),
    ),
    max_size=40,
)


# Keys of a kind's table: what it needs, and what makes it do the same each time.
KEYS = {
    "python": {"cls": "counter:Counter", "port": (0x500, 2)},
    "virtio-rng": {"seed": 7},
    "virtio-python": {"cls": "counter:Answers"},
    "virtio-blk": {"path": Path("/disk.img")},
    "flash": {"path": Path("/vars.fd")},
    "virtio-net": {"mac": "52:54:00:12:34:56"},
    "virtio-vsock": {"path": Path("/vm.vsock"), "cid": 3},
    "virtio-pmem": {"path": Path("/root.img")},
    "virtio-fs": {"path": Path("/folder"), "tag": "folder", "lost": "reset"},
    "vhost-user": {"number": 42, "socket": Path("/socket"), "configuration": 13, "lost": "reset"},
}


def elsewhere(queues, configuration):
    """Another process's place, taken by a thread."""

    def called():
        ours, theirs = socket.socketpair()
        FakeBackEnd(theirs, queues=queues, protocol=EVERYTHING & ~REPLY_ACK).start()  # fewer messages
        return Session(ours, None)

    return lambda: BackEnd(called, queues, configuration, "socket")


FOUND = own.found
BEHIND = {
    "fw-cfg": lambda: {0: fwcfg.of(b"QEMU"), 1: fwcfg.of(bytes(100))},
    "flash": lambda: FlashFile(1 << 16),
    "virtio-net": lambda: Wire(1),
    "virtio-vsock": lambda: NoSockets(3),
    "virtio-pmem": lambda: pmem.mapped(1 << 32, 2 << 20),
    "virtio-fs": elsewhere(2, 0),
    "vhost-user": elsewhere(1, 13),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where the file of the user's own classes is; it is run once for all devices."""
    path = tmp_path_factory.mktemp("own")
    (path / "counter.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(own, "found", lambda name, board, *base: classes(name, board.directory, *base))
        yield path


@cache
def classes(name, directory, *base):
    return FOUND(name, Board(directory, ()), *base)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    path = tmp_path_factory.mktemp("disk") / "disk.img"
    path.write_bytes(bytes(1 << 15))
    descriptor = os.open(path, os.O_RDWR)
    yield lambda: Disk(descriptor, 1 << 15, None, writable=True, direct=False)
    os.close(descriptor)


VIRTIO = [name for name in TABLE if issubclass(KINDS[name], VirtioModel)]
# The kinds, those of virtio by each transport.
KINDS_BY_TRANSPORT = [name for name in TABLE if name not in VIRTIO]
KINDS_BY_TRANSPORT += [f"{name} {transport}" for name in VIRTIO for transport in TRANSPORTS]
# Both are one class, whose tests have each transport (virtio/test_vhostuser.py).
KINDS_BY_TRANSPORT.remove("virtio-fs pci")
KINDS_BY_TRANSPORT.remove("vhost-user mmio")


@pytest.fixture(scope="module", params=KINDS_BY_TRANSPORT)
def kind(request, directory, disk, plug):
    """A kind of device: :meth:`new` gives a guest with a fresh one."""
    name, _, transport = request.param.partition(" ")
    made = deque()

    class Kind:
        model = KINDS[name](**KEYS.get(name, {}))
        # How far ahead the clock of the machine is that goes on. The 8254 counts ticks of the whole time, and goes on
        # only with virtual time, which is the same then.
        ahead = 0 if name == "i8254" else 7_777_777
        board = Board(directory, (Slot(0, 0, 64 << 20, 0),), backend=BEHIND.get(name, disk))

        @property
        def ports(self):
            return tuple(port for r in self.model.regions() for port in range(r.start or 0, (r.start or 0) + r.size))

        def new(self, clock=None, like=None):
            """A fresh one; where a device uses the guest's memory, with the memory of the guest ``like``."""
            return plug(planned(name, self.model, self.board), clock=clock, region=self.model.regions()[0].name)

        def give_memory(self, one, other):
            """Give a guest the memory of another one, if the device uses it."""

        def do(self, guest, event):
            """Let something happen, and give what the guest and the host see of it."""
            shown = None
            match event:
                case ("read", at):
                    shown = guest.read(self.offset(at))
                case ("write", at, value):
                    guest.write(self.offset(at), value)
                case ("receive", data):
                    if guest.device.room():
                        guest.receive(data)
                case ("pass", ns):
                    guest.let_pass(ns)
            return shown, seen(guest)

        def offset(self, at):
            return self.ports[at % len(self.ports)] - self.ports[0]

    class VirtioKind(Kind):
        def new(self, clock=None, like=None):
            memory = GuestMemory((Slot(0, 0, 1 << 18, 0),), PlannedMemory("memfd"))
            if like is not None:
                memory.write(0, like.memory.read(0, 1 << 18))
            behind = []
            device = planned(name, self.model, keeping(behind, self.board), transport)
            guest = plug(device, clock=clock, memory=memory, firsts=REGIONS)
            made.append((guest, behind))
            if len(made) > 2:  # no test has more at once
                close(*made.popleft())
            if like is not None:
                guest.driver = like.driver.moved(guest, memory)
            else:
                guest.driver = (Driver if transport == "mmio" else PCIDriver)(guest, memory)
            return guest

        def give_memory(self, one, other):
            other.memory.write(0, one.memory.read(0, 1 << 18))

        def do(self, guest, event):
            shown, driver = None, guest.driver
            match event:
                case ("write", at, _) if at < 24:  # what a driver does
                    self.step(driver, at)
                case ("write", at, value):
                    guest.write(self.place(at), value * 0x01010101, 4)
                case ("read", at):
                    shown = guest.read(self.place(at), 4)
                case ("receive", data):
                    end = guest.device.ends()[0]
                    guest.flush()
                    end.receive(data[: end.room()])
                case ("pass", ns):
                    guest.let_pass(ns)
            settle(guest)
            return shown, seen(guest), guest.memory.read(0, 1 << 18)

        @staticmethod
        def place(at):
            """By PCI, also configuration space, the table of MSI-X and more."""
            return at * 4 if transport == "mmio" else (0, CONFIGURATION, V.ISR, V.TABLE)[at % 4] + at // 4 * 4

        def step(self, driver, at):
            match at:
                case 0:
                    driver.write(R.STATUS, 0)
                case 1 | 2 | 3:
                    driver.negotiate()
                case 4 | 5 | 6 | 7:
                    driver.start(queues=1)
                case 8:
                    driver.acknowledge()
                case _ if driver.queues and len(driver.queues[0].free) > 1:
                    driver.queues[0].add([Buffer(0x20000, at), Buffer(0x30000 + 64 * at, 64, write=True)])
                    if at % 2 or driver.guest.paths:  # what C serves is served wholly when it goes on elsewhere
                        driver.notify(0)

    class HostKind(Kind):
        """Its first function is its own; of memory, the first page is enough."""

        def new(self, clock=None, like=None):
            device = planned(name, self.model, self.board)
            regions = {"address": 0, "data": 4, "ecam": 8, "configuration": CONFIGURATION}
            functions = Functions(device)
            return plug(device, clock=clock, firsts=regions, configuration=functions)

        def do(self, guest, event):
            match event:
                case ("read", at):
                    return guest.read(at - at % 4, 4), seen(guest)
                case ("write", at, value):
                    guest.write(at - at % 4, value * 0x01000401, 4)
            return None, seen(guest)

    class FlashKind(Kind):
        """Its contents are in its file, which goes with it."""

        def give_memory(self, one, other):
            other.device._image.data[:] = one.device._image.data

    yield {"pci-host": HostKind, "flash": FlashKind, **dict.fromkeys(VIRTIO, VirtioKind)}.get(name, Kind)()
    while made:
        close(*made.popleft())


def keeping(behind, board):
    """The board, with a list to which what is behind a device is added."""
    return board._replace(backend=lambda: behind.append(board.backend()) or behind[-1])


def close(guest, behind):
    """End the threads of a device, then the process that serves it, then the memory that they use. The guest is not
    collected meanwhile: other threads collect too, and would do the same at the same time."""
    for path in guest.paths if guest is not None else ():
        path.end()
    for each in behind:
        if isinstance(each, BackEnd):
            each.close()
    if guest is not None:
        guest.memory.close()


class Functions:
    """A configuration space with one function."""

    def __init__(self, function):
        self.function = function

    def read(self, address, size):
        if address + size > 256:
            return (1 << 8 * size) - 1
        return self.function.read("configuration", address, size)

    def write(self, address, size, value):
        if address + size <= 256:
            self.function.write("configuration", address, size, value)


def planned(name, model, board, transport=None):
    """The device that a plan has for the model of a spec."""
    device = PlannedDevice("d0", name, options(model), model.regions(), transport=transport)
    if transport == "pci":
        device = device._replace(irq=10, bars=(layout.PCI_MEMORY,))
    return make(device, board)


def seen(guest):
    """What a device shows of itself without being asked: all but the number of edges, which counts from its start."""
    cells = {at: int(cell[0]) for at, cell in guest.cells.items()}
    return (
        guest.level,
        guest.published,
        cells,
        guest.delivery,
        guest.masks,
        guest.hurry,
        guest.wait,
        guest.mapped,
        guest.direct[-1:],
    )


def settle(guest):
    """Let C serve what it was told of."""
    for path in guest.paths:
        until(lambda path=path: guest.device._common._rests or (idle(path) and served(guest)))
        with path.held():
            pass
        if guest.troubled():
            guest.device.tick()


def idle(path):
    """Whether C has looked at all that it was told of."""
    with path.held():
        return not path.worker.bell.rung | path.worker.again


def served(guest):
    """Whether no queue has more to serve, but buffers for what comes from outside."""
    common = guest.device._common
    for queue, setup, kind in zip_longest(common.queues, common.setups, common.device.queue_kinds):
        if queue.running and not queue.fault and kind != "receive":
            offered = int.from_bytes(guest.memory.read(setup.driver + 2, 2), "little")
            if queue.progress() != (offered, offered):
                return False
    return True


def saved(guest):
    return attrs.asdict(guest.device.save())


def waiting(state):
    """What the host has sent that the guest has not read: by convention the state's field ``host``."""
    state = getattr(state, "device", state)
    return b"".join(part.host for part in getattr(state, "ports", (state,)) if hasattr(part, "host"))


def states(state_class):
    """Any state that a class takes."""

    def values(rule):
        match rule:
            case Number(low, high, none):
                numbers = st.integers(low, high) | st.sampled_from((low, high))
                return numbers | st.none() if none else numbers
            case Bits(mask) if mask.bit_length() > 64:  # of a buffer: a few of its bits
                ones = st.sets(st.integers(0, mask.bit_length() - 1), max_size=4)
                return ones.map(lambda places: sum(1 << place for place in places) & mask)
            case Bits(mask):
                return st.integers(0, mask).map(lambda value: value & mask)
            case OneOf(choices):
                return st.sampled_from(choices)
            case Flag():
                return st.booleans()
            case Octets(least, most):
                return st.binary(min_size=least, max_size=min(most, max(least, 40)))
            case Part(cls):
                return states(cls)
            case Parts(cls, most):
                return st.lists(states(cls), max_size=min(most, 3)).map(tuple)

    return st.fixed_dictionaries({name: values(rule) for name, rule in state_class.rules().items()}).map(
        lambda fields: state_class(**fields)
    )


def test_every_device_has_a_frozen_attrs_state_class_of_its_own(directory, disk):
    models = {name: model(**KEYS.get(name, {})) for name, model in KINDS.items() if "python" not in name}
    kinds = [(name, transport) for name in models for transport in (TRANSPORTS if name in VIRTIO else (None,))]
    behind = []
    boards = {name: keeping(behind, Board(directory, (), backend=BEHIND.get(name, disk))) for name in models}
    classes = [planned(name, models[name], boards[name], transport).state_class for name, transport in kinds]
    assert len(set(classes)) == len(classes)
    for (name, transport), state_class in zip(kinds, classes, strict=True):
        state = plugged_state(models[name], name, boards[name], transport)
        assert type(state) is state_class
        assert attrs.has(state_class)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            state.version = 2
    close(None, behind)


def plugged_state(model, name, board, transport):
    from tests.runner.devices.conftest import Guest

    memory = GuestMemory((Slot(0, 0, 4096, 0),))
    firsts = {region.name: 0 for region in model.regions()}
    return Guest(planned(name, model, board, transport), firsts=firsts, memory=memory).device.save()


@pytest.mark.long
@DEAR
@given(before=EVENTS, after=EVENTS)
def test_a_loaded_device_is_as_the_one_that_was_saved(kind, before, after):
    one = kind.new()
    for event in before:
        kind.do(one, event)
    one.flush()
    text = json.dumps(tree(one.device.save()))  # as in a snapshot
    clock = type(one.clock)(one.clock.now + kind.ahead, one.clock.date - kind.ahead)
    other = kind.new(clock=clock, like=one)
    other.device.load(from_tree(other.device.state_class, json.loads(text)))
    assert saved(other) == saved(one)
    assert seen(other) == seen(one)
    one.text, one.ends = b"", []
    for event in after:
        assert kind.do(other, event) == kind.do(one, event)
    one.flush()
    other.flush()
    assert (other.text, other.ends, saved(other)) == (one.text, one.ends, saved(one))


@pytest.mark.long
@DEAR
@given(before=EVENTS, after=EVENTS)
def test_a_device_may_be_loaded_over_whatever_it_was(kind, before, after):
    one, other = kind.new(), kind.new()
    for event in before:
        kind.do(one, event)
    for event in after:
        kind.do(other, event)
    for guest in (one, other):
        guest.flush()
    one.clock.now = other.clock.now = max(one.clock.now, other.clock.now)
    one.let_pass(0)
    state = one.device.save()
    with ExitStack() as stack:
        for path in other.paths:
            stack.enter_context(path.held())  # it would serve what the other memory has
        kind.give_memory(one, other)
        other.device.load(state)
    assert (saved(other), seen(other)) == (saved(one), seen(one))


@pytest.mark.long
@DEAR
@given(before=EVENTS, after=EVENTS)
def test_a_device_that_is_reset_is_as_new(kind, before, after):
    old = kind.new()
    for event in before:
        kind.do(old, event)
    old.flush()
    old.device.reset()
    new = kind.new(clock=type(old.clock)(old.clock.now, old.clock.date), like=old)
    if data := waiting(old.device.save()):
        new.device.ends()[0].receive(data)
    assert (saved(old), seen(old)) == (saved(new), seen(new))
    old.text, old.ends = b"", []
    for event in after:
        assert kind.do(old, event) == kind.do(new, event)
    old.flush()
    new.flush()
    assert (old.text, old.ends) == (new.text, new.ends)


@pytest.mark.long
@DEAR
@given(data=st.data(), events=EVENTS)
def test_every_state_that_is_taken_gives_a_device_that_works(kind, data, events):
    guest = kind.new()
    try:
        guest.device.load(data.draw(states(guest.device.state_class)))
    except StateError:
        return  # of a device that was made in another way
    for event in events:
        shown = kind.do(guest, event)[0]
        assert shown is None or 0 <= shown <= 0xFFFFFFFF
    guest.flush()
    guest.device.load(guest.device.save())


def test_a_new_device_is_as_after_a_reset(kind):
    """Beside its transport, which a driver has set up."""
    guest = kind.new()
    new = guest.device.save()
    guest.device.reset()
    state = guest.device.save()
    assert getattr(state, "device", state) == getattr(new, "device", new)


def test_what_the_host_has_sent_is_not_lost_by_a_reset(plug):
    from runner.devices.serial import Serial

    guest = plug(Serial())
    guest.write(2, 0x01)
    guest.receive(b"abcdef")
    got = bytearray()
    for _ in range(20):
        if len(got) < 2 and guest.read(5) & 1:
            got.append(guest.read(0))
    guest.device.reset()
    for _ in range(40):
        if guest.read(5) & 1:
            got.append(guest.read(0))
    assert got == b"abcdef"


# What is rejected


class Two(State):
    VERSION = 2
    low: int = bits(0x0F)
    text: bytes = octets(3)
    many: int = number(-1, 5)


class Thing(Device):
    state_class = Two

    def __init__(self):
        self.low, self._text, self.many = 1, bytearray(b"ab"), -1


GOOD = {"low": 3, "text": b"abc", "many": 5}


def test_a_state_is_of_attributes_with_and_without_an_underscore():
    thing = Thing()
    assert thing.save() == Two(low=1, text=b"ab", many=-1)
    thing.load(Two(**GOOD))
    assert (thing.low, thing._text, thing.many) == (3, bytearray(b"abc"), 5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 1}, "Two is of version 1; this vmrun reads version 2"),
        ({"version": None}, "Two is of version None; this vmrun reads version 2"),
        ({"low": 0x10}, "Two: low is 16, not an integer without bits outside 0xf"),
        ({"low": -1}, "Two: low is -1, not an integer without bits outside 0xf"),
        ({"low": True}, "Two: low is True, not an integer without bits outside 0xf"),
        ({"low": "3"}, "Two: low is '3', not an integer without bits outside 0xf"),
        ({"text": b"abcd"}, "Two: text is b'abcd', not 0 to 3 bytes"),
        ({"text": "abc"}, "Two: text is 'abc', not 0 to 3 bytes"),
        ({"many": 6}, "Two: many is 6, not an integer from -0x1 to 0x5"),
        ({"many": None}, "Two: many is None, not an integer from -0x1 to 0x5"),
    ],
)
def test_another_version_and_values_out_of_range_are_rejected(changed, said):
    with pytest.raises(StateError) as caught:
        Two(**GOOD | changed)
    assert str(caught.value) == said


@pytest.mark.parametrize("fields", [{"low": 1}, GOOD | {"more": 1}])
def test_a_field_is_neither_left_out_nor_added(fields):
    with pytest.raises(TypeError):
        Two(**fields)


def test_the_state_of_another_device_is_rejected(kind):
    with pytest.raises(StateError, match=r"the saved state is a Two, not the \w+State of this device"):
        kind.new().device.load(Two(**GOOD))


def test_a_device_without_a_state_class_says_so():
    for use in (Device().save, lambda: Device().load(Two(**GOOD))):
        with pytest.raises(StateError, match="Device can be neither saved nor loaded: it has no state_class"):
            use()


def test_a_clock_that_was_given_a_time_does_not_become_one_that_follows_the_date(plug):
    from datetime import UTC, datetime

    from runner.devices.rtc import RTC

    state = plug(RTC(datetime(2026, 1, 1, tzinfo=UTC))).device.save()
    with pytest.raises(StateError) as caught:
        plug(RTC()).device.load(state)
    assert str(caught.value) == "RTC: the saved clock and this one must both have a start time, or neither"


def test_a_start_makes_no_state_class():
    """Making them costs milliseconds, and importing attrs more, of which nothing is needed before a device is saved."""
    import subprocess
    import sys

    modules = {f"runner.devices.{module}" for module, _ in TABLE.values()}
    code = f"import sys, {', '.join(sorted(modules))}\nfrom runner.devices.state import State\n"
    code += "made = State.__subclasses__()\nprint([c for c in made if hasattr(c, '__attrs_attrs__')], len(made) > 7)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
