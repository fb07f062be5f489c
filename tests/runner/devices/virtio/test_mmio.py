"""The registers of the MMIO transport."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.virtio.mmio import MMIO
from runner.devices.virtio.mmio import connect as connect_as_planned
from runner.memory import GuestMemory
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtioecho import Echo
from tests.runner.devices.virtio.conftest import ask
from tests.runner.devices.virtio.test_datapath import Echo as NativeEcho
from tests.runner.devices.virtio.test_datapath import answered, send
from tracer.decode import mmio
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import virtio as R

# The registers of 32 bits, and of 64 bits in halves.
NARROW = (
    *(R.MAGIC, R.VERSION, R.DEVICE_ID, R.VENDOR_ID, R.STATUS, R.INTERRUPT_STATUS, R.INTERRUPT_ACK, R.CONFIG_GENERATION),
    *(R.DEVICE_FEATURES, R.DEVICE_FEATURES_SEL, R.DRIVER_FEATURES, R.DRIVER_FEATURES_SEL, R.SHM_SEL),
    *(R.QUEUE_SEL, R.QUEUE_NUM_MAX, R.QUEUE_NUM, R.QUEUE_READY, R.QUEUE_NOTIFY),
)
WIDE = (R.QUEUE_DESC, R.QUEUE_DRIVER, R.QUEUE_DEVICE, R.SHM_LEN, R.SHM_BASE)


@pytest.fixture
def echo(drive):
    return drive(Echo())


def test_what_a_driver_finds(echo):
    assert echo.read(R.MAGIC).to_bytes(4, "little") == b"virt"
    assert (echo.read(R.VERSION), echo.read(R.DEVICE_ID)) == (2, R.CONSOLE)
    assert echo.guest.calls == 0  # C has answered


def test_python_answers_as_c_does(echo):
    """Of a part of an access that crosses into the region, for example."""
    echo.start()
    ask(echo)
    shown = echo.guest.published | {at: int(cell[0]) for at, cell in echo.guest.cells.items()}
    assert len(shown) == 5
    assert {at: echo.guest.device.read("registers", *at) for at in shown} == shown


def test_python_takes_writes_as_c_does(echo):
    echo.start()
    ask(echo, notify=False)
    echo.guest.device.write("registers", R.QUEUE_NOTIFY, 4, 0)
    echo.guest.let_pass(0)
    assert (len(echo.queues[0].done()), echo.read(R.INTERRUPT_STATUS)) == (1, R.USED_BUFFER)
    echo.guest.device.write("registers", R.INTERRUPT_ACK, 4, R.USED_BUFFER)
    assert echo.read(R.INTERRUPT_STATUS) == 0


def test_the_user_is_told_what_the_driver_did_wrong(plug, memory):
    notices = []
    device = connect_as_planned(Echo(), PlannedDevice("d0", "virtio-rng", {}), notices.append)
    driver = Driver(plug(device, memory=memory), memory).start()
    driver.queues[0].offer(99)
    driver.notify(0)
    assert len(notices) == 1


def test_there_is_no_shared_memory(echo):
    echo.write(R.SHM_SEL, 0)
    assert echo.read(R.SHM_LEN) == echo.read(R.SHM_LEN + 4) == 0xFFFFFFFF


def test_registers_are_32_bits_wide(echo):
    echo.start()
    for size in (1, 2, 8):
        assert echo.guest.read(R.STATUS, size) == 0
        echo.guest.write(R.STATUS, 0, size)
    assert echo.read(R.STATUS) & R.DRIVER_OK


def test_the_cause_is_shown_before_the_interrupt(echo):
    echo.start()
    ask(echo)
    assert echo.guest.seen_at_edge[R.INTERRUPT_STATUS, 4] == R.USED_BUFFER


def test_an_acknowledgement_needs_no_python(echo):
    echo.start()
    ask(echo)
    calls = echo.guest.calls
    assert (echo.acknowledge(), echo.acknowledge(), echo.guest.calls) == (R.USED_BUFFER, 0, calls)


def test_what_is_no_register_reads_as_zero_and_takes_nothing(echo):
    """A write that does not begin with a register has no effect on that register's neighbours either."""
    echo.start(queues=2, size=4)
    echo.write(R.QUEUE_SEL, 1)
    echo.write(R.QUEUE_READY, 0)
    before = echo.guest.device.save()
    known = {*NARROW, *(at + half for at in WIDE for half in (0, 4))}
    for offset in range(R.CONFIG - 3):
        if offset not in known:
            echo.guest.write(offset, 0x5A5A5A5A, 4)
            read = echo.guest.read(offset, 4)
            assert read == (0xFFFFFFFF if R.SHM_LEN <= offset < R.SHM_BASE + 8 else 0), offset
    assert echo.guest.device.save() == before


def test_a_queue_that_is_taken_back_stops(echo):
    echo.start()
    echo.write(R.QUEUE_SEL, 0)
    echo.write(R.QUEUE_READY, 0)
    assert echo.read(R.QUEUE_READY) == 0
    ask(echo)
    assert echo.queues[0].done() == []


def test_a_queue_that_is_taken_back_is_left_alone(drive):
    echo = drive(NativeEcho())
    echo.start(queues=2)
    echo.write(R.QUEUE_SEL, 0)
    echo.write(R.QUEUE_READY, 0)
    send(echo, b"nobody")
    echo.notify(0)
    send(echo, b"served", queue=1)
    echo.notify(1)
    assert len(answered(echo, 1)) == 1
    assert echo.queues[0].done() == []


@pytest.mark.parametrize("index", [0x10000, 0xFFFFFFFF])
def test_a_queue_is_selected_by_32_bits(echo, index):
    echo.write(R.QUEUE_SEL, index)
    assert (echo.read(R.QUEUE_NUM_MAX), echo.read(R.QUEUE_READY)) == (0, 0)


def test_a_size_of_more_than_16_bits_is_not_cut(echo):
    assert echo.negotiate()
    echo.write(R.QUEUE_SEL, 0)
    echo.write(R.QUEUE_NUM, 0x10008)
    echo.write(R.QUEUE_READY, 1)
    echo.status(R.DRIVER_OK)
    assert echo.guest.notices == ["the guest's driver must reset it: queue 0: its size is more than 8"]


def test_a_reset_clears_the_interrupt_status(echo):
    echo.start()
    ask(echo)
    assert echo.read(R.INTERRUPT_STATUS) == R.USED_BUFFER
    echo.write(R.STATUS, 0)
    assert echo.read(R.INTERRUPT_STATUS) == 0


def test_a_saved_interrupt_status_is_shown_in_another_machine(echo, connect):
    echo.start()
    ask(echo)
    guest = connect(Echo())
    guest.device.load(echo.guest.device.save())
    assert guest.read(R.INTERRUPT_STATUS, 4) == R.USED_BUFFER


def test_the_decoder_names_every_register_of_the_transport():
    """No two by one name."""
    offsets = [*NARROW, *(at + half for at in WIDE for half in (0, 4))]
    names = [mmio.register(0xD0000000 + offset, "virtio-rng0")[1].name for offset in offsets]
    assert [name for name in names if name.startswith("+")] == []
    assert len({*names}) == len(offsets)


REGISTERS = st.sampled_from(
    (R.STATUS, R.QUEUE_SEL, R.QUEUE_NUM, R.QUEUE_READY, R.QUEUE_NOTIFY, R.QUEUE_DESC, R.QUEUE_DRIVER, R.QUEUE_DEVICE)
) | st.integers(0, 0x1F8)
VALUES = st.sampled_from((0, 1, 2, 3, 4, 8, 11, 15, 0x1000, 0x10000, 0x14000)) | st.integers(0, 0xFFFFFFFF)


@given(
    prepared=st.booleans(),
    accesses=st.lists(st.tuples(st.booleans(), REGISTERS, st.sampled_from((1, 2, 4, 4, 4, 8)), VALUES), max_size=60),
    rings=st.binary(max_size=200),
)
def test_no_access_makes_a_device_fail(plug, prepared, accesses, rings):
    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
    driver = Driver(plug(MMIO.of(Echo)(Echo(), lambda text: None), memory=memory), memory)
    if prepared:
        driver.start(queues=2, size=4)
    memory.write(0x10000, rings)
    for write, offset, size, value in accesses:
        if offset + size > R.SIZE:
            continue
        if write:
            driver.guest.write(offset, value & (1 << 8 * size) - 1, size)
        else:
            assert 0 <= driver.guest.read(offset, size) < 1 << 8 * size
    driver.guest.flush()
    driver.guest.let_pass(1)
    driver.start()
    ask(driver)
    assert len(driver.queues[0].done()) == 1
    memory.close()
