from hashlib import blake2b

import pytest

from runner.devices.device import Board
from runner.devices.virtio.rng import Rng, RngState
from tests.fakes.virtqueuefake import Buffer
from vmspec.registers import virtio as R

DATA = 0x80000
pytestmark = pytest.mark.parametrize("transport", ["mmio", "pci"])


def bytes_of(driver, *sizes):
    """What the guest gets for buffers of these sizes."""
    got = []
    for size in sizes:
        driver.memory.write(DATA, bytes(size))
        driver.queues[0].add([Buffer(DATA, size, write=True)])
        driver.notify(0)
        ((_, written),) = driver.queues[0].done()
        got.append(driver.memory.read(DATA, written))
    return got


def test_the_hosts_random_bytes(drive):
    driver = drive(Rng())
    assert driver.read(R.DEVICE_ID) == 4
    first, second = bytes_of(driver.start(), 64, 64)
    assert len(first) == len(second) == 64
    assert len({first, second, bytes(64)}) == 3


def test_a_seed_gives_the_same_bytes_in_whatever_pieces(drive):
    expected = b"".join(blake2b(n.to_bytes(8, "little"), key=(7).to_bytes(8, "little")).digest() for n in range(4))
    assert b"".join(bytes_of(drive(Rng(7)).start(), 1, 63, 64, 70, 58)) == expected


def test_the_count_of_given_bytes_wraps(drive):
    device = Rng(7)
    driver = drive(device).start()
    device.load(RngState(given=(1 << 64) - 64))
    assert len(bytes_of(driver, 100)[0]) == 100
    assert device.save() == RngState(given=36)


def test_what_its_table_of_the_spec_says(drive, tmp_path):
    made = Rng.make({"seed": 7}, Board(tmp_path, ()))
    assert bytes_of(drive(made).start(), 32) == bytes_of(drive(Rng(7)).start(), 32)


def test_another_seed_gives_other_bytes(drive):
    assert bytes_of(drive(Rng(1)).start(), 32) != bytes_of(drive(Rng(2)).start(), 32)


def test_a_seed_begins_again_after_a_reset(drive):
    driver = drive(Rng(7))
    assert bytes_of(driver.start(), 32) == bytes_of(driver.start(), 32)


@pytest.mark.parametrize("seed", [None, 7])
def test_an_answer_is_bounded(drive, seed):
    assert [len(got) for got in bytes_of(drive(Rng(seed)).start(), 0x10000, 0x20001)] == [0x10000, 0x10000]


def test_a_buffer_that_cannot_be_written_gets_nothing(drive):
    driver = drive(Rng()).start()
    driver.queues[0].add([Buffer(DATA, 4)])
    driver.notify(0)
    assert driver.queues[0].done() == [(0, 0)]
