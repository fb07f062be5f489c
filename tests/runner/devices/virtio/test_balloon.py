"""The memory balloon (virtio 1.2, 5.5), as a driver written from the specification drives it."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.device import Board
from runner.devices.virtio.balloon import Balloon, BalloonDevice
from runner.devices.virtio.mmio import MMIO
from runner.memory import GuestMemory
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtqueuefake import INDIRECT_DESC, VERSION_1, Buffer
from vmspec.plan.calls import Slot
from vmspec.plan.settings import PlannedMemory
from vmspec.registers import virtio as V
from vmspec.registers import virtio_balloon as R

DATA, PAGE = 0x80000, 4096
ALL = VERSION_1 | INDIRECT_DESC | R.STATS_VQ | R.PAGE_REPORTING
STATS, REPORTING = 2, 3


@pytest.fixture
def balloon(drive):
    return drive(BalloonDevice(3)).start(queues=4, features=ALL)


def give(driver, *pages, queue=R.INFLATE):
    """Give pages by their numbers."""
    driver.memory.write(DATA, struct.pack(f"<{len(pages)}I", *pages))
    driver.queues[queue].add([Buffer(DATA, 4 * len(pages))])
    driver.notify(queue)
    return driver.queues[queue].done()


def filled(driver, *pages):
    for page in pages:
        driver.memory.write(page * PAGE, b"x" * PAGE)


def empty(driver, page):
    return driver.memory.read(page * PAGE, PAGE) == bytes(PAGE)


def test_a_driver_finds_what_is_wanted(balloon):
    assert balloon.read(V.DEVICE_ID) == 5
    assert balloon.offered() & 0xFF == R.STATS_VQ | R.DEFLATE_ON_OOM | R.PAGE_REPORTING
    assert balloon.guest.read(V.CONFIG + R.NUM_PAGES, 4) == 3
    balloon.guest.device.model().set_target(10 * PAGE + 1)
    assert balloon.acknowledge() & V.CONFIGURATION
    assert balloon.guest.read(V.CONFIG + R.NUM_PAGES, 4) == 10
    balloon.guest.write(V.CONFIG + R.ACTUAL, 7, 4)
    assert balloon.guest.device.model().balloon() == Balloon(10 * PAGE, 7 * PAGE, {})


@pytest.mark.parametrize(("size", "pages"), [(None, 0), (10 * PAGE, 10), (10 * PAGE + 1, 10)])
def test_what_its_table_of_the_spec_says(tmp_path, size, pages):
    made = BalloonDevice.make({"size": size}, Board(tmp_path, ()))
    assert made.configuration() == struct.pack("<II", pages, 0)


@pytest.mark.parametrize(("at", "size"), [(R.ACTUAL, 2), (R.NUM_PAGES, 4), (R.ACTUAL + 2, 2)])
def test_a_driver_writes_what_it_has_given_as_a_whole(balloon, at, size):
    balloon.guest.write(V.CONFIG + at, 7, size)
    assert balloon.guest.device.model().balloon() == Balloon(3 * PAGE, 0, {})


def test_given_pages_are_returned_and_no_other(balloon):
    filled(balloon, 0xA0, 0xA1, 0xA2, 0xA4, 0xA5)
    assert give(balloon, 0xA4, 0xA0, 0xA1) == [(0, 0)]
    assert [empty(balloon, page) for page in (0xA0, 0xA1, 0xA2, 0xA4, 0xA5)] == [True, True, False, True, False]
    filled(balloon, 0xA0)
    assert give(balloon, 0xA0, queue=R.DEFLATE) == [(0, 0)]
    assert not empty(balloon, 0xA0)


def test_a_page_between_two_that_are_given_stays(balloon):
    filled(balloon, 0xA0, 0xA1, 0xA2)
    give(balloon, 0xA0, 0xA2)
    assert [empty(balloon, page) for page in (0xA0, 0xA1, 0xA2)] == [True, False, True]


@pytest.mark.parametrize("features", [VERSION_1, VERSION_1 | R.STATS_VQ])
def test_queues_of_features_that_were_not_accepted_do_nothing(drive, features):
    driver = drive(BalloonDevice()).start(queues=4, features=features)
    filled(driver, 0xA0)
    for queue in (2, 3) if features == VERSION_1 else (3,):
        driver.queues[queue].add([Buffer(0xA0 * PAGE, PAGE, write=True)])
        driver.notify(queue)
    assert not empty(driver, 0xA0)
    fill(driver, (4, 5))
    statistics = {"free_memory": 5} if features & R.STATS_VQ else {}
    assert driver.guest.device.model().balloon().statistics == statistics


@pytest.mark.parametrize("pages", [(0xFFFFFFFF,), (0x100,), (0xFF, 0x100), (0xFF, 0x100, 0x101), (0xD0000,), ()])
def test_numbers_of_no_ram_are_ignored(balloon, pages):
    filled(balloon, 0xFF)
    give(balloon, *pages, 0xA0)
    assert (empty(balloon, 0xFF), balloon.read(V.STATUS) & V.NEEDS_RESET) == (0xFF in pages, 0)


def test_a_chain_of_too_many_numbers_needs_a_reset(balloon):
    balloon.queues[R.INFLATE].add([Buffer(0x40000, 0x10004)])
    balloon.notify(R.INFLATE)
    assert balloon.guest.notices == [
        "the guest's driver must reset it: the guest gives 16385 pages at once, more than 16384"
    ]


def test_a_chain_of_as_many_numbers_as_may_be_is_served(balloon):
    balloon.memory.write(0x40000, b"\xff" * 0x10000)
    balloon.queues[R.INFLATE].add([Buffer(0x40000, 0x10000)])
    balloon.notify(R.INFLATE)
    assert (balloon.queues[R.INFLATE].done(), balloon.guest.notices) == ([(0, 0)], [])


@given(data=st.binary(min_size=1, max_size=64))
def test_whatever_numbers_a_driver_gives(plug, data):
    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
    driver = Driver(plug(MMIO.of(BalloonDevice)(BalloonDevice(), print), memory=memory), memory, at=0x4000)
    driver.start(queues=4, features=ALL)
    memory.write(DATA, data)
    driver.queues[R.INFLATE].add([Buffer(DATA, len(data))])
    driver.notify(R.INFLATE)
    memory.close()


def test_a_memfd_gets_holes(plug):
    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),), PlannedMemory(backing="memfd"))
    driver = Driver(plug(MMIO.of(BalloonDevice)(BalloonDevice(), print), memory=memory), memory)
    driver.start(queues=4, features=ALL)
    filled(driver, *range(0xA0, 0xC0))
    fd = memory.regions[0].fd
    before = os.fstat(fd).st_blocks
    give(driver, *range(0xA0, 0xB0))
    assert before - os.fstat(fd).st_blocks >= 15 * PAGE // 512  # one is new: that of the numbers
    assert (empty(driver, 0xA0), empty(driver, 0xB0)) == (True, False)
    memory.close()


def test_reported_pages_are_returned_in_whole_pages(balloon):
    filled(balloon, 0xA0, 0xA1, 0xA2)
    balloon.queues[REPORTING].add([Buffer(0xA0 * PAGE + 8, 2 * PAGE, write=True), Buffer(0xA2 * PAGE, 8, write=True)])
    balloon.notify(REPORTING)
    assert balloon.queues[REPORTING].done() == [(0, 0)]
    assert [empty(balloon, page) for page in (0xA0, 0xA1, 0xA2)] == [False, True, False]


def test_reporting_has_the_next_queue_where_there_are_no_statistics(drive):
    driver = drive(BalloonDevice()).start(queues=3, features=VERSION_1 | R.PAGE_REPORTING)
    filled(driver, 0xA0)
    driver.queues[2].add([Buffer(0xA0 * PAGE, PAGE, write=True)])
    driver.notify(2)
    assert empty(driver, 0xA0)


def fill(driver, *statistics):
    """Give the device statistics: tag and value of each."""
    data = b"".join(struct.pack("<HQ", *statistic) for statistic in statistics)
    driver.memory.write(DATA, data)
    driver.queues[STATS].add([Buffer(DATA, len(data))])
    driver.notify(STATS)


def test_statistics_are_asked_for_by_giving_the_buffer_back(balloon):
    device = balloon.guest.device.model()
    device.ask()  # there is no buffer yet
    unknown = ((tag, 7) for tag in (len(R.STATISTICS), 99, 0xFFFF))
    fill(balloon, (4, 1 << 63), (5, 1 << 30), *unknown)
    assert device.balloon().statistics == {"free_memory": 1 << 63, "total_memory": 1 << 30}
    assert balloon.queues[STATS].done() == []
    balloon.acknowledge()
    device.ask()
    assert balloon.acknowledge() == V.USED_BUFFER
    assert [written for _, written in balloon.queues[STATS].done()] == [0]
    fill(balloon, (4, 5))
    assert device.balloon().statistics == {"free_memory": 5}


def test_new_statistics_give_the_buffer_of_the_old_ones_back(balloon):
    fill(balloon, (4, 1))
    balloon.acknowledge()
    fill(balloon, (4, 2))
    assert balloon.acknowledge() == V.USED_BUFFER
    assert [written for _, written in balloon.queues[STATS].done()] == [0]
    assert balloon.guest.device.model().balloon().statistics == {"free_memory": 2}


def test_a_new_device_wants_and_knows_nothing():
    assert BalloonDevice().balloon() == Balloon(target=0, actual=0, statistics={})


def test_statistics_of_a_guest_without_a_driver_are_asked_for_in_vain(drive):
    drive(BalloonDevice()).guest.device.model().ask()


def test_a_loaded_device_holds_the_buffer_again(plug, memory, balloon):
    fill(balloon, (4, 5))
    state = balloon.guest.device.save()
    other = plug(MMIO.of(BalloonDevice)(BalloonDevice(), print), memory=memory)
    other.device.load(state)
    other.let_pass(0)
    assert other.device.model().balloon().statistics == {"free_memory": 5}
    other.device.model().ask()
    assert len(balloon.queues[STATS].done()) == 1


def test_a_broken_device_gives_no_buffer_back(balloon):
    fill(balloon, (4, 5))
    balloon.queues[R.INFLATE].describe(0, DATA, 4, 1, 0)
    balloon.queues[R.INFLATE].offer(0)
    balloon.notify(R.INFLATE)
    assert balloon.read(V.STATUS) & V.NEEDS_RESET
    balloon.guest.device.model().ask()
    assert balloon.queues[STATS].done() == []


def test_a_reset_forgets_what_the_driver_said(balloon):
    fill(balloon, (4, 5))
    balloon.guest.write(V.CONFIG + R.ACTUAL, 7, 4)
    balloon.write(V.STATUS, 0)
    assert balloon.guest.device.model().balloon() == Balloon(3 * PAGE, 0, {})
