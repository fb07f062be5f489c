"""The block device with virtual time: what it says it has written to the guest's memory."""

import ctypes
import mmap
import os
import struct

import pytest

from runner.devices.virtio.blk import Blk
from runner.devices.virtio.mmio import MMIO
from runner.replay.modelleddma import ModelledDMA
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtqueuefake import Buffer
from tests.runner.devices.virtio.test_blk import DATA, HEADER, STATUS, Image
from tests.runner.devices.virtio.test_net_virtual import VirtualGuest

PAGE = 4096
SIZE = 16 * PAGE


@pytest.fixture
def image(tmp_path):
    made = Image(tmp_path / "disk.img", "ro", size=SIZE)
    os.fsync(made.fd)
    os.posix_fadvise(made.fd, 0, 0, os.POSIX_FADV_RANDOM)  # reads nothing ahead
    yield made
    made.close()


def keep_first(image):
    """Have only the first page of the image in the host's cache."""
    os.posix_fadvise(image.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(image.fd, PAGE, 0)


def cached(image):
    """Whether each page of the image is in the host's cache (mincore(2))."""
    pages = (ctypes.c_ubyte * (SIZE // PAGE))()
    with mmap.mmap(image.fd, SIZE, mmap.MAP_PRIVATE) as view:  # writable only for ctypes
        held = ctypes.c_char.from_buffer(view)
        assert not ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(ctypes.addressof(held)), SIZE, pages)
        del held
    return [bool(page & 1) for page in pages]


def test_what_is_read_in_two_steps_is_one_write(image, memory):
    """The read that does not wait finds the first page only, and the one that follows moves all. A recording has the
    same writes wherever the host has the image."""
    keep_first(image)
    if cached(image) != [True] + [False] * (SIZE // PAGE - 1):
        pytest.skip("this file system keeps other pages of a file in the host's cache than it is asked to")
    guest = VirtualGuest(MMIO.of(Blk)(Blk(image.disk, 1, "", True), print), memory=memory)
    driver = Driver(guest, memory).start()
    memory.write(HEADER, struct.pack("<IIQ", 0, 0, 0))
    driver.queues[0].add([Buffer(HEADER, 16), Buffer(DATA, SIZE, write=True), Buffer(STATUS, 1, write=True)])
    dma = ModelledDMA(memory)
    dma.begin()
    driver.notify(0)
    dma.acted()
    dma.end()
    written = [(each.addr, each.data) for each in dma.done if each.direction == "write" and each.addr >= DATA]
    assert written == [(DATA, image.path.read_bytes())], [(at, len(data)) for at, data in written]
