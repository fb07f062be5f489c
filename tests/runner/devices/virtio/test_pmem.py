"""The persistent memory device as a driver sees it: its configuration, flushes, and requests that are wrong."""

import struct

import pytest

from runner.backends import pmem
from runner.devices.device import Board
from runner.devices.state import StateError
from runner.devices.virtio.pmem import Pmem
from tests.fakes.virtqueuefake import Buffer
from tests.runner.devices.virtio.conftest import DATA
from tests.runner.devices.virtio.test_datapath import until
from vmspec.registers import virtio as R

START, SIZE = 1 << 32, 6 << 20
FLUSH = struct.pack("<I", 0)
UNTOUCHED = b"\xee" * 8


@pytest.fixture(params=["mmio", "pci"])
def transport(request):
    return request.param


@pytest.fixture
def driver(drive):
    driver = drive(Pmem(pmem.mapped(START, SIZE)))
    yield driver.start()
    for path in driver.guest.paths:
        path.end()


def ask(driver, request, room):
    """Send a request; return what was written to its response, by the used ring and by memory."""
    driver.memory.write(DATA, request)
    driver.memory.write(DATA + 0x100, UNTOUCHED)
    buffers = [Buffer(DATA, len(request))] if request else []
    sent = driver.queues[0].add([*buffers, *([Buffer(DATA + 0x100, room, write=True)] if room else [])])
    driver.notify(0)
    done = until(driver.queues[0].done)
    assert [head for head, _ in done] == [sent]
    return done[0][1], driver.memory.read(DATA + 0x100, 8)


def test_the_driver_finds_the_image(driver):
    assert driver.read(R.DEVICE_ID) == R.PMEM
    words = [driver.read_configuration(offset, 4) for offset in range(0, 16, 4)]
    assert struct.pack("<4I", *words) == struct.pack("<QQ", START, SIZE)


def test_what_its_table_of_the_spec_says(tmp_path):
    image = pmem.mapped(START, SIZE)
    made = Pmem.make({}, Board(tmp_path, (), backend=lambda: image))
    assert (made.configuration(), made.native()) == (struct.pack("<QQ", START, SIZE), image.native)


@pytest.mark.parametrize("room", [4, 8])
def test_a_flush_is_done(driver, room):
    assert ask(driver, FLUSH, room) == (4, bytes(4) + UNTOUCHED[4:])


@pytest.mark.parametrize("kind", [1, 1 << 31])
def test_another_request_fails(driver, kind):
    assert ask(driver, struct.pack("<I", kind), 4) == (4, struct.pack("<I", 1) + UNTOUCHED[4:])


@pytest.mark.parametrize(("request_", "room"), [(b"", 4), (FLUSH[:3], 4), (FLUSH, 0), (FLUSH, 3)])
def test_what_is_no_request_stops_the_device_until_a_reset(driver, request_, room):
    assert ask(driver, request_, room) == (0, UNTOUCHED)
    until(lambda: driver.guest.troubled() and (driver.guest.device.tick() or True))
    assert driver.read(R.STATUS) & R.NEEDS_RESET
    assert len(driver.guest.notices) == 1
    driver.start()
    assert ask(driver, FLUSH, 4)[0] == 4


def test_a_saved_image_is_loaded_where_it_lay():
    image = Pmem(pmem.mapped(START, SIZE))
    state = image.save()
    image.load(state)
    for other in (pmem.mapped(START + SIZE, SIZE), pmem.mapped(START, 2 * SIZE)):
        with pytest.raises(
            StateError, match=rf"^the saved image has {SIZE} bytes at {START:#x}, and this one \d+ at 0x\d+$"
        ):
            Pmem(other).load(state)
