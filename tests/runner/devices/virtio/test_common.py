"""What is common to all transports: negotiation, queues, broken drivers, reset, saving; by each of them."""

import attrs
import pytest

from runner.devices.state import StateError
from runner.machine.virtqueue import CODES
from tests.fakes.virtioecho import OWN, Echo
from tests.fakes.virtqueuefake import EVENT_IDX, INDIRECT_DESC, NEXT, NO_INTERRUPT, VERSION_1, Buffer
from tests.runner.devices.virtio.conftest import DATA, TRANSPORTS, ask
from vmspec.registers import virtio as R

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture
def echo(drive):
    return drive(Echo())


@pytest.fixture(params=[0, EVENT_IDX], ids=["flags", "event-index"])
def features(request):
    """What a driver negotiates: how it tells which interrupts it wants."""
    return VERSION_1 | INDIRECT_DESC | request.param


# Registers


def test_what_a_driver_finds(echo):
    assert (echo.read(R.DEVICE_ID), echo.read(R.STATUS), echo.read(R.CONFIG_GENERATION)) == (R.CONSOLE, 0, 0)
    assert echo.offered() == VERSION_1 | EVENT_IDX | INDIRECT_DESC | OWN
    echo.write(R.DEVICE_FEATURES_SEL, 2)
    assert echo.read(R.DEVICE_FEATURES) == 0
    assert echo.guest.device.save().common.driver_features == 0


def test_a_queue_that_is_set_up_is_ready(echo):
    echo.start(queues=1)
    ready = []
    for index in (0, 1):
        echo.write(R.QUEUE_SEL, index)
        ready.append(echo.read(R.QUEUE_READY))
    assert ready == [1, 0]


@pytest.mark.parametrize(("index", "longest"), [(0, 8), (1, 4), (2, 0), (0xFFFF, 0)])
def test_the_longest_queue(echo, index, longest):
    echo.write(R.QUEUE_SEL, index)
    assert echo.read(R.QUEUE_NUM_MAX) == longest
    assert echo.read(R.QUEUE_READY) == 0


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [(0, 1, b"c"), (2, 4, b"nfig"), (4, 2, b"ig"), (4, 4, b"ig\0\0"), (6, 1, b"\0"), (0xF8, 8, bytes(8))],
)
def test_configuration_is_read_by_bytes_and_is_zero_beyond_its_end(echo, offset, size, value):
    assert echo.read_configuration(offset, size) == int.from_bytes(value, "little")


def test_a_driver_writes_configuration_and_never_beyond_its_end(echo):
    echo.write_configuration(0, ord("C"), 1)  # before there is a driver
    echo.start()
    echo.write_configuration(1, int.from_bytes(b"ONFI", "little"), 4)
    echo.write_configuration(4, 0, 4)
    echo.write_configuration(6, 0, 1)
    assert [echo.read_configuration(at, 1) for at in range(8)] == [*b"cONFIg\0\0"]


def test_a_changed_configuration_has_another_generation_and_interrupts_a_driver(echo):
    device = echo.guest.device._device
    device.host.reconfigured()
    assert (echo.read(R.CONFIG_GENERATION), echo.guest.edges) == (1, 0)  # nobody listens
    echo.start()
    assert (echo.read(R.CONFIG_GENERATION), echo.acknowledge()) == (0, 0)  # no interrupt without a change
    device.host.reconfigured()
    assert (echo.read(R.CONFIG_GENERATION), echo.guest.edges, echo.acknowledge()) == (1, 1, R.CONFIGURATION)


# Negotiation


@pytest.mark.parametrize(
    ("features", "taken"),
    [
        (VERSION_1, True),
        (VERSION_1 | OWN | EVENT_IDX | INDIRECT_DESC, True),
        (0, False),
        (OWN, False),  # a legacy driver
        (VERSION_1 | 1 << 6, False),
        (VERSION_1 | 1 << 34, False),  # RING_PACKED
        (VERSION_1 | 1 << 63, False),
    ],
)
def test_only_what_was_offered_is_accepted(echo, features, taken):
    assert echo.negotiate(features) == taken
    assert bool(echo.status(R.DRIVER_OK) & R.DRIVER_OK) == taken
    assert echo.guest.device._device.began == ([features] if taken else [])


def test_features_are_settled_once(echo):
    echo.negotiate(VERSION_1)
    echo.write(R.DRIVER_FEATURES_SEL, 0)
    echo.write(R.DRIVER_FEATURES, OWN)
    echo.status(R.DRIVER_OK)
    assert echo.guest.device._device.began == [VERSION_1]


def test_the_device_learns_the_features_once(echo):
    learnt = []
    echo.guest.device._device.negotiated = learnt.append
    echo.start()
    assert learnt == [VERSION_1 | INDIRECT_DESC]


def test_there_are_no_features_beyond_64_bits(echo):
    echo.write(R.DRIVER_FEATURES_SEL, 2)
    echo.write(R.DRIVER_FEATURES, 1)
    assert echo.guest.device.save().common.driver_features == 0


def test_a_driver_takes_no_bit_of_the_status_back(echo):
    echo.start()
    echo.write(R.STATUS, R.ACKNOWLEDGE)
    assert echo.read(R.STATUS) == R.ACKNOWLEDGE | R.DRIVER | R.FEATURES_OK | R.DRIVER_OK


def test_a_driver_does_not_say_that_the_device_needs_a_reset(echo):
    echo.start()
    assert echo.status(R.NEEDS_RESET) & R.NEEDS_RESET == 0


# The device behind its transport


def test_a_transport_passes_on_what_comes_from_the_host(echo):
    transport, device = echo.guest.device, echo.guest.device._device
    heard = []
    device.resized = lambda columns, rows: heard.append((columns, rows))
    device.close = lambda: heard.append("closed")
    device.ends = lambda: ("an end",)
    transport.resized(80, 25)
    transport.close()
    assert heard == [(80, 25), "closed"]
    assert (transport.ends(), transport.model()) == (("an end",), device)


# Requests


def test_a_request_is_answered(echo, features):
    echo.start(features=features)
    head = ask(echo)
    assert echo.queues[0].done() == [(head, 5)]
    assert echo.memory.read(DATA + 0x100, 6) == b"HELLO\0"
    assert (echo.guest.edges, echo.acknowledge(), echo.acknowledge()) == (1, R.USED_BUFFER, 0)


def test_one_notification_for_many_requests(echo, features):
    echo.start(features=features)
    heads = [ask(echo, at=DATA + 0x200 * number, notify=False) for number in range(4)]
    assert echo.queues[0].done() == []
    for _ in range(3):
        echo.notify(0)
    assert echo.queues[0].done() == [(head, 5) for head in heads]
    assert echo.guest.edges == 1


def test_requests_made_before_the_driver_was_ready(echo):
    assert echo.negotiate()
    echo.queues = [echo.set_up(0)]
    head = ask(echo)
    assert echo.queues[0].done() == []
    echo.status(R.DRIVER_OK)
    assert echo.queues[0].done() == [(head, 5)]


def test_a_queue_that_is_set_up_late(echo):
    echo.start(queues=1)
    echo.queues.append(echo.set_up(1, size=4))
    ask(echo, queue=1)
    assert len(echo.guest.device._device.held) == 1


def test_a_driver_that_wants_no_interrupts_gets_none(echo):
    echo.start()
    echo.queues[0].flags(NO_INTERRUPT)
    ask(echo)
    assert (len(echo.queues[0].done()), echo.guest.edges, echo.acknowledge()) == (1, 0, 0)


@pytest.mark.parametrize("queue", [2, 7, 0xFFFF, 0x10000, 0xFFFFFFFF])
def test_a_notification_of_no_queue_is_ignored(echo, queue):
    echo.start()
    ask(echo, notify=False)
    echo.notify(queue)
    assert (echo.queues[0].done(), echo.read(R.STATUS) & R.NEEDS_RESET) == ([], 0)


def test_what_is_set_up_does_not_change_while_it_is_ready(echo):
    echo.start()
    echo.write(R.QUEUE_SEL, 0)
    for register in (R.QUEUE_NUM, R.QUEUE_DESC, R.QUEUE_DRIVER, R.QUEUE_DEVICE + 4):
        echo.write(register, 0x1234)
    ask(echo)
    assert len(echo.queues[0].done()) == 1


def test_a_driver_that_never_stops_asking_keeps_nobody_waiting(echo):
    """No more chains than the queue is long are answered at once; the others follow in the next tick."""
    echo.start(size=4)
    device, queue = echo.guest.device._device, echo.queues[0]
    asked = 0

    def request(index, chain):
        nonlocal asked
        assert index == 0
        asked += 1
        if asked < 10:
            queue.free.append(0)
            queue.add([Buffer(DATA, 1)])
        return 0

    device.request = request
    queue.add([Buffer(DATA, 1)])
    echo.notify(0)
    assert asked == 4
    assert echo.guest.wait == 0
    echo.guest.let_pass(0)
    assert (asked, device.ticks) == (10, 0)


def test_a_queue_that_is_never_empty_is_served_once_a_tick_however_often_it_is_notified(echo):
    echo.start(size=4)
    device, queue = echo.guest.device._device, echo.queues[0]
    asked = []

    def request(index, chain):
        asked.append(chain)
        queue.free.append(0)
        queue.add([Buffer(DATA, 1)])
        return 0

    device.request = request
    queue.add([Buffer(DATA, 1)])
    for _ in range(100):
        echo.notify(0)
    asked.clear()
    echo.guest.device.tick()
    assert len(asked) == 4


def test_a_tick_that_the_device_wants_comes_at_its_time(echo):
    echo.start(size=4)
    device = echo.guest.device._device
    device.host.after(1000)
    assert (echo.guest.wait, device.host.clock) == (1000, echo.guest.clock)
    echo.guest.let_pass(999)
    assert device.ticks == 0
    echo.guest.let_pass(1)
    assert device.ticks == 1
    device.host.after(1000)
    device.host.after(None)
    echo.guest.let_pass(5000)
    assert device.ticks == 1


# Broken drivers, reset


def broken(echo):
    echo.start()
    echo.queues[0].describe(0, DATA, 4, NEXT, 0)
    echo.queues[0].offer(0)
    echo.notify(0)
    return echo


def test_a_broken_queue_stops_its_device_and_says_why_once(echo):
    broken(echo)
    assert echo.read(R.STATUS) & R.NEEDS_RESET
    assert echo.acknowledge() & R.CONFIGURATION
    why = "the guest's driver must reset it: queue 0: a chain loops, or has more than 1024 descriptors"
    assert echo.guest.notices == [why]
    edges = echo.guest.edges
    echo.notify(0)
    echo.queues.append(echo.set_up(1, size=4))
    echo.queues[0].free = list(range(1, 8))
    ask(echo)
    echo.notify(1)
    assert (echo.queues[0].done(), echo.guest.notices, echo.guest.edges) == ([], [why], edges)


def test_a_device_that_breaks_without_a_driver_interrupts_nobody(echo):
    assert echo.negotiate()
    echo.guest.device._device.host.broken("it cannot go on")
    assert echo.read(R.STATUS) & R.NEEDS_RESET
    assert (echo.guest.edges, echo.acknowledge()) == (0, 0)
    assert echo.guest.notices == ["the guest's driver must reset it: it cannot go on"]


def test_a_state_of_other_queues_is_rejected(echo):
    state = echo.guest.device.save()
    common = attrs.evolve(state.common, queues=state.common.queues[:1])
    with pytest.raises(StateError, match=r"^the saved state has 1 queues; this device has 2$"):
        echo.guest.device.load(attrs.evolve(state, common=common))


def test_a_reset_revives_a_device_with_a_broken_queue(echo):
    broken(echo)
    echo.acknowledge()
    echo.start()
    head = ask(echo)
    assert (echo.queues[0].done(), echo.read(R.STATUS) & R.NEEDS_RESET) == ([(head, 5)], 0)


@pytest.mark.parametrize(
    ("size", "at", "why"),
    [
        (16, 0x10000, "its size is more than 8"),
        (0, 0x10000, "its size is not a power of two from 1 to 1024"),
        (3, 0x10000, "its size is not a power of two from 1 to 1024"),
        (8, 1 << 40, "its descriptors, available ring or used ring are not in RAM"),
        (8, 0x10008, "its descriptors, available ring or used ring are not at a multiple of 16, 2 and 4"),
    ],
)
def test_a_queue_that_cannot_be(echo, size, at, why):
    assert echo.negotiate()
    echo.write(R.QUEUE_SEL, 0)
    echo.write(R.QUEUE_NUM, size)
    for register, address in zip(
        (R.QUEUE_DESC, R.QUEUE_DRIVER, R.QUEUE_DEVICE), (at, at + 0x1000, at + 0x2000), strict=True
    ):
        echo.write(register, address & 0xFFFFFFFF)
        echo.write(register + 4, address >> 32)
    echo.write(R.QUEUE_READY, 1)
    echo.status(R.DRIVER_OK)
    assert echo.read(R.STATUS) & R.NEEDS_RESET
    assert echo.guest.notices == [f"the guest's driver must reset it: queue 0: {why}"]


def test_what_was_asked_before_a_reset_is_not_answered_after(echo):
    echo.start(queues=2, size=4)
    ask(echo, queue=1)
    device = echo.guest.device._device
    held = list(device.held)
    assert len(held) == 1
    echo.write(R.STATUS, 0)
    before = echo.memory.read(0, 1 << 20)
    device.held = held  # a device that forgets to drop them
    assert held[0].read(64) == b""
    device.release()
    assert echo.memory.read(0, 1 << 20) == before
    echo.start(queues=2, size=4)
    device.held = held
    device.release()
    assert echo.queues[1].done() == []


def test_a_chain_is_put_back_once(echo):
    echo.start(queues=2, size=4)
    ask(echo, queue=1)
    device = echo.guest.device._device
    (chain,) = device.held
    device.release()
    assert (chain.write(b"later"), chain.read(64)) == (0, b"")
    device.held = [chain]
    device.release()
    assert device.host.queues[1].progress() == (1, 1)
    assert echo.memory.read(DATA + 0x100, 5) == b"late\0"


def test_a_driver_has_no_more_chains_than_descriptors_in_the_devices_hands(echo):
    echo.start(queues=2, size=4)
    echo.queues[1].describe(0, DATA, 4)
    for _ in range(5):
        echo.queues[1].offer(0)
        echo.notify(1)
    assert len(echo.guest.device._device.held) == 4
    assert echo.guest.notices == ["the guest's driver must reset it: queue 1: it has more chains than descriptors"]


def test_a_reset_device_is_as_it_was(echo):
    echo.start(queues=2, size=4)
    ask(echo)
    echo.write(R.STATUS, 0)
    assert (echo.read(R.STATUS), echo.read(R.QUEUE_READY)) == (0, 0)
    ask(echo)
    assert echo.queues[0].done() != []  # those of before
    assert echo.guest.device._device.count == 0


def test_what_a_driver_has_told_of_does_not_wait_for_a_tick_that_the_device_wants(echo):
    echo.start()
    echo.guest.device._common.kicked(0)
    echo.guest.device._device.host.after(1000)
    assert echo.guest.wait == 0
    echo.guest.let_pass(0)
    assert (echo.guest.wait, echo.guest.device._device.ticks) == (1000, 0)


def test_each_queue_records_requests_of_its_kind(connect):
    """By the number that its kind has in the table of requests; a queue without one has others."""

    class Kinds(Echo):
        queue_kinds = ("entropy",)

    device = Kinds()
    connect(device)
    assert [queue.kind for queue in device.host.queues] == [CODES["entropy"], CODES["other"]]


def test_a_saved_device_goes_on_in_another_machine(connect, echo):
    echo.start(queues=2, size=4)
    for number in range(3):
        ask(echo, at=DATA + 0x200 * number)
        echo.queues[0].done()
    state = echo.guest.device.save()
    other = Echo()
    guest = connect(other)
    guest.device.load(state)
    assert (guest.device.save().device.count, guest.device.save().common.queues[0].taken) == (3, 3)
    echo.guest = guest
    assert echo.read(R.STATUS) == 15
    ask(echo)
    assert len(echo.queues[0].done()) == 1


def test_a_broken_device_is_saved_as_it_is_loaded(connect, echo):
    broken(echo)
    state = echo.guest.device.save()
    other = connect(Echo())
    other.device.load(state)
    assert other.device.save() == state


class Holder(Echo):
    """It takes the chains of its second queue again after a load."""

    holds = (1,)


@pytest.mark.parametrize(("cls", "taken", "unserved"), [(Echo, 1, 0), (Holder, 0, 0b10)])
def test_what_a_device_holds_is_saved_as_taken_or_as_to_be_taken_again(drive, cls, taken, unserved):
    driver = drive(cls()).start(queues=2, size=4)
    assert driver.guest.device.save().common.unserved == 0
    ask(driver, queue=1)
    saved = driver.guest.device.save().common
    assert (saved.queues[1].taken, saved.queues[1].put, saved.unserved) == (taken, 0, unserved)


def test_what_a_driver_has_told_of_is_saved_unless_the_device_is_broken(echo):
    common = echo.guest.device._common
    assert common.save().unserved == 0
    echo.start()
    common.kicked(0)
    assert common.save().unserved == 1
    common._broken("a test says so")
    assert common.save().unserved == 0


def test_a_saved_device_serves_what_was_left_to_serve(connect, drive):
    driver = drive(Echo()).start(size=4)
    queue, device = driver.queues[0], driver.guest.device._device

    def request(index, chain):
        device.count += 1
        if device.count < 6:
            queue.free.append(0)
            queue.add([Buffer(DATA, 1)])
        return 0

    device.request = request
    queue.add([Buffer(DATA, 1)])
    driver.notify(0)
    state = driver.guest.device.save()
    guest = connect(Echo())
    guest.device.load(state)
    assert guest.device.save().device.count == 4
    guest.let_pass(0)
    assert guest.device.save().device.count == 5


def test_with_event_indices_a_driver_is_interrupted_when_it_asks_and_asked_to_notify(echo):
    echo.start(features=VERSION_1 | EVENT_IDX)
    echo.queues[0].interrupt_after(1)  # with the second answer
    ask(echo)
    assert (echo.guest.edges, echo.queues[0].asked()) == (0, (0, 1))
    ask(echo, at=DATA + 0x200)
    assert (echo.guest.edges, echo.queues[0].asked()) == (1, (0, 2))


@pytest.mark.parametrize(
    ("status", "features", "why"),
    [
        (15, (1 << 64) - 1, "which this device does not offer"),
        (11, VERSION_1 | 1 << 34, "the features 0x400000000, which this device does not offer"),
        (15, INDIRECT_DESC, "the status 0xf without its features"),
        (7, VERSION_1, "the status 0x7 without its features"),
    ],
)
def test_a_state_that_no_driver_can_reach_is_rejected(echo, status, features, why):
    state = echo.guest.device.save()
    common = attrs.evolve(state.common, status=status, driver_features=features)
    with pytest.raises(StateError, match=why):
        echo.guest.device.load(attrs.evolve(state, common=common))
