"""The PCI transport: its capabilities, registers and vectors, bus mastering, the way by configuration space."""

import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.services import Native
from runner.devices.state import StateError
from runner.devices.virtio.device import VirtioDevice
from runner.devices.virtio.pci import PCI
from runner.devices.virtio.pci import connect as connect_as_planned
from runner.devices.virtio.rng import Rng
from runner.memory import GuestMemory
from runner.native._native import ffi, lib
from tests.fakes.virtiodriver import CONFIGURATION, FIRST_VECTOR, LOCAL_APIC, REGIONS, PCIDriver
from tests.fakes.virtioecho import Echo
from tests.fakes.virtqueuefake import NEXT
from tests.runner.devices.virtio.conftest import DATA, ask
from tracer.decode import mmio
from vmspec import layout
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import pci as P
from vmspec.registers import virtio as V
from vmspec.registers import virtiopci as R

pytestmark = pytest.mark.parametrize("transport", ["pci"])

PATIENCE = 20  # seconds


class Native1(VirtioDevice):
    """A device that C serves: it answers with what it was sent."""

    number = V.CONSOLE
    queue_sizes = (16, 8)

    def native(self):
        return Native(ffi.addressof(lib, "worker_echo"), ffi.NULL)


@pytest.fixture
def echo(drive):
    return drive(Echo())


def common(driver, register, value=None):
    """Read or write a register of the common configuration."""
    at = driver.places[R.COMMON_CFG] + register
    return (
        driver.guest.read(at, R.WIDTHS[register])
        if value is None
        else driver.guest.write(at, value, R.WIDTHS[register])
    )


def until(happens):
    """Wait for what another thread does."""
    late = time.monotonic() + PATIENCE
    while not (seen := happens()):
        assert time.monotonic() < late
        time.sleep(0.0005)
    return seen


# Configuration space


def test_the_function_says_which_virtio_device_it_is(echo):
    assert (echo.configuration(P.VENDOR_ID, 2), echo.configuration(P.DEVICE_ID, 2)) == (0x1AF4, 0x1040 + V.CONSOLE)
    assert echo.configuration(P.REVISION_ID, 4) == 0x07800001
    assert echo.configuration(P.SUBSYSTEM_ID, 2) >= 0x40  # not a transitional device (4.1.2.1)


def test_the_registers_lie_where_the_plan_has_them(echo):
    assert echo.guest.mapped == {"registers": layout.PCI_MEMORY}
    assert echo.configuration(P.BAR, 4) == layout.PCI_MEMORY


def test_the_user_is_told_what_the_driver_did_wrong(plug, memory, transport):
    notices = []
    planned = PlannedDevice("d0", "virtio-rng", {}, irq=10, bars=(layout.PCI_MEMORY,))
    guest = plug(connect_as_planned(Echo(), planned, notices.append), memory=memory, firsts=REGIONS)
    driver = PCIDriver(guest, memory, msix=False).start()
    assert (driver.configuration(P.INTERRUPT_LINE, 1), guest.mapped["registers"]) == (10, layout.PCI_MEMORY)
    driver.queues[0].offer(99)
    driver.notify(0)
    assert len(notices) == 1


def test_every_structure_lies_in_the_base_address_register(echo):
    at, found = echo.configuration(P.CAPABILITIES, 1), {}
    while at:
        if echo.configuration(at, 1) == P.VENDOR_SPECIFIC:
            length, kind, bar = (echo.configuration(at + field, 1) for field in (2, 3, 4))
            found[kind] = length, bar, echo.configuration(at + 8, 4), echo.configuration(at + 12, 4)
        at = echo.configuration(at + 1, 1)
    assert found.keys() == {R.COMMON_CFG, R.NOTIFY_CFG, R.ISR_CFG, R.DEVICE_CFG, R.PCI_CFG}
    assert all(bar == 0 and offset + length <= R.SIZE and offset % 4 == 0 for _, bar, offset, length in found.values())
    assert found[R.COMMON_CFG][3] >= 56  # up to queue_device (4.1.4.3)
    assert (found[R.NOTIFY_CFG][0], found[R.NOTIFY_CFG][3]) == (20, 2 * 4)
    assert echo.multiplier == 4


def test_a_device_without_configuration_has_no_such_structure(drive):
    assert R.DEVICE_CFG not in drive(Rng()).places


def test_a_driver_writes_nothing_else_of_configuration_space(echo):
    echo.configure(P.COMMAND, 0, 2)
    before = [echo.configuration(at, 1) for at in range(256)]
    for at in range(0, 256, 4):
        echo.configure(at, 0xFFFFFFFF, 4)
    changed = {at for at in range(256) if echo.configuration(at, 1) != before[at]}
    window = echo.access + R.CFG_BAR, *range(echo.access + R.CFG_OFFSET, echo.access + R.CFG_DATA + 4)
    assert changed - {*range(P.BAR, P.BAR + 4)} == {
        P.COMMAND, P.COMMAND + 1, P.INTERRUPT_LINE, echo.control + 1, *window,
    }  # fmt: skip


# The common configuration


def test_registers_have_one_width(echo):
    echo.start()
    first = echo.places[R.COMMON_CFG]
    for register, width in R.WIDTHS.items():
        for size in {1, 2, 4, 8} - {width}:
            if register % size == 0 and register + size not in R.WIDTHS | {0x40: 0}:
                continue
            echo.guest.write(first + register, 0, size)
            assert echo.guest.read(first + register, size) == 0
    assert common(echo, R.DEVICE_STATUS) & V.DRIVER_OK


def test_a_driver_reads_back_what_it_has_written(echo):
    echo.negotiate()
    common(echo, R.QUEUE_SELECT, 1)
    written = {R.QUEUE_SIZE: 2, R.QUEUE_DESC: 0x12340, R.QUEUE_DRIVER: 0x40000004, R.QUEUE_DEVICE: 0x7000}
    written |= {R.QUEUE_DESC + 4: 0x80000009, R.QUEUE_DRIVER + 4: 5, R.QUEUE_DEVICE + 4: 0x400}
    for register, value in written.items():
        common(echo, register, value)
    assert {register: common(echo, register) for register in written} == written
    common(echo, R.DRIVER_FEATURE_SELECT, 1)
    assert (common(echo, R.DRIVER_FEATURE), common(echo, R.QUEUE_NOTIFY_OFF)) == (1, 1)
    common(echo, R.DEVICE_FEATURE_SELECT, 3)
    selectors = (R.DEVICE_FEATURE_SELECT, R.DRIVER_FEATURE_SELECT, R.QUEUE_SELECT)
    assert [common(echo, register) for register in selectors] == [3, 1, 1]


def test_there_are_as_many_queues_as_the_device_has(echo):
    assert common(echo, R.NUM_QUEUES) == 2
    common(echo, R.QUEUE_SELECT, 2)
    common(echo, R.QUEUE_ENABLE, 1)
    common(echo, R.QUEUE_SIZE, 8)
    for register in (R.QUEUE_SIZE, R.QUEUE_ENABLE, R.QUEUE_NOTIFY_OFF, R.QUEUE_DESC):
        assert common(echo, register) == 0
    common(echo, R.QUEUE_MSIX_VECTOR, 0)
    assert common(echo, R.QUEUE_MSIX_VECTOR) == R.NO_VECTOR


@pytest.mark.parametrize("value", [0, 2, 0xFFFF])
def test_a_queue_is_enabled_by_1_and_stopped_by_a_reset_alone(echo, value):
    echo.start()
    common(echo, R.QUEUE_SELECT, 0)
    common(echo, R.QUEUE_ENABLE, value)
    assert common(echo, R.QUEUE_ENABLE) == 1
    ask(echo)
    assert len(echo.queues[0].done()) == 1
    common(echo, R.DEVICE_STATUS, 0)
    common(echo, R.QUEUE_ENABLE, value)
    assert common(echo, R.QUEUE_ENABLE) == 0


@pytest.mark.parametrize("size", [2, 4])
def test_a_notification_is_of_the_registers_queue(echo, size):
    """Whatever is written there."""
    echo.start(queues=2, size=4)
    ask(echo, notify=False)
    ask(echo, queue=1, at=DATA + 0x400, notify=False)
    echo.guest.write(echo.places[R.NOTIFY_CFG] + 4, 0, size)
    assert (echo.queues[0].done(), len(echo.guest.device._device.held)) == ([], 1)


# Interrupts


@pytest.mark.parametrize("vector", [0, 1, 2, 3, 0x7FF, 0x800, 0xFFFF])
def test_a_vector_that_there_is_not_is_refused(echo, vector):
    common(echo, R.QUEUE_SELECT, 0)
    for register in (R.CONFIG_MSIX_VECTOR, R.QUEUE_MSIX_VECTOR):
        common(echo, register, vector)
        assert common(echo, register) == (vector if vector < 3 else R.NO_VECTOR)


def test_each_queue_and_the_configuration_have_their_own_message(echo):
    echo.start(queues=2, size=4)
    ask(echo)
    ask(echo, queue=1, at=DATA + 0x400)
    echo.guest.device._device.release()
    echo.guest.device._device.host.reconfigured()
    assert echo.guest.messages == [(LOCAL_APIC, FIRST_VECTOR + vector) for vector in (1, 2, 0)]


def test_a_queue_without_a_vector_interrupts_nobody(echo):
    echo.start()
    common(echo, R.QUEUE_SELECT, 0)
    common(echo, R.QUEUE_MSIX_VECTOR, R.NO_VECTOR)
    ask(echo)
    assert (len(echo.queues[0].done()), echo.guest.edges) == (1, 0)


def test_a_reset_of_the_device_forgets_the_vectors_and_not_the_table(echo):
    echo.start()
    table = [echo.guest.read(echo.table + at, 4) for at in range(0, 48, 4)]
    assert table[:8] == [LOCAL_APIC, 0, FIRST_VECTOR, 0, LOCAL_APIC, 0, FIRST_VECTOR + 1, 0]
    ask(echo)
    common(echo, R.DEVICE_STATUS, 0)
    assert common(echo, R.CONFIG_MSIX_VECTOR) == common(echo, R.QUEUE_MSIX_VECTOR) == R.NO_VECTOR
    assert echo.guest.read(echo.places[R.ISR_CFG], 1) == 0
    assert [echo.guest.read(echo.table + at, 4) for at in range(0, 48, 4)] == table
    assert echo.configuration(echo.control, 2) & P.MSIX_ENABLE


def test_the_interrupt_status_is_cleared_by_reading(echo):
    echo.start()
    ask(echo)
    isr = echo.places[R.ISR_CFG]
    assert echo.configuration(P.STATUS, 2) & P.INTERRUPT_STATUS
    assert (echo.guest.read(isr, 1), echo.guest.read(isr, 1)) == (V.USED_BUFFER, 0)
    assert echo.configuration(P.STATUS, 2) & P.INTERRUPT_STATUS == 0


# Bus mastering


def test_a_device_that_may_not_access_memory_waits(echo):
    echo.start()
    echo.configure(P.COMMAND, P.MEMORY_SPACE, 2)
    ask(echo)
    echo.guest.let_pass(1000)
    assert (echo.queues[0].done(), echo.guest.edges) == ([], 0)
    echo.configure(P.COMMAND, P.MEMORY_SPACE | P.BUS_MASTER, 2)
    echo.guest.let_pass(1000)
    assert (len(echo.queues[0].done()), echo.guest.edges) == (1, 1)


def test_a_broken_device_is_told_of_by_the_configurations_vector(echo):
    echo.start()
    echo.queues[0].describe(0, DATA, 4, NEXT, 0)
    echo.queues[0].offer(0)
    echo.notify(0)
    assert echo.guest.messages == [(LOCAL_APIC, FIRST_VECTOR)]


# The way by configuration space (4.1.4.9)


def by_configuration(driver, offset, size, value=None, bar=0):
    at = driver.access
    driver.configure(at + R.CFG_BAR, bar, 1)
    driver.configure(at + R.CFG_OFFSET, offset, 4)
    driver.configure(at + R.CFG_LENGTH, size, 4)
    if value is None:
        return driver.configuration(at + R.CFG_DATA, 4)
    driver.configure(at + R.CFG_DATA, value, 4)
    return None


def test_registers_are_reached_without_the_base_address_register(echo):
    echo.configure(P.COMMAND, 0, 2)
    assert echo.guest.mapped == {}
    by_configuration(echo, R.COMMON + R.DEVICE_STATUS, 1, V.ACKNOWLEDGE | V.DRIVER)
    assert by_configuration(echo, R.COMMON + R.DEVICE_STATUS, 1) & 0xFF == V.ACKNOWLEDGE | V.DRIVER
    assert by_configuration(echo, R.COMMON + R.NUM_QUEUES, 2) & 0xFFFF == 2
    assert by_configuration(echo, R.CONFIG, 4) == int.from_bytes(b"conf", "little")


def test_the_last_bytes_of_the_base_address_register_are_reached(echo):
    assert by_configuration(echo, R.CONFIG, 4)
    assert by_configuration(echo, R.SIZE - 4, 4) == 0
    by_configuration(echo, R.SIZE, 4, 0x12345678)
    assert by_configuration(echo, R.SIZE, 4) == 0x12345678  # beyond it the data is a register without effect


@pytest.mark.parametrize(
    ("offset", "size", "bar"),
    [(R.COMMON + R.DEVICE_STATUS, 1, 1), (R.COMMON + R.DEVICE_STATUS, 0, 0), (R.COMMON + R.DEVICE_STATUS, 3, 0),
     (R.COMMON + 0x12, 4, 0), (R.SIZE, 1, 0), (R.SIZE - 2, 4, 0), (0xFFFFFFFC, 4, 0), (0, 0xFFFFFFFF, 0), (0, 8, 0)],
)  # fmt: skip
def test_an_access_that_cannot_be_has_no_effect(echo, offset, size, bar):
    echo.start()
    by_configuration(echo, offset, size, 0, bar)
    by_configuration(echo, offset, size, bar=bar)
    assert common(echo, R.DEVICE_STATUS) & V.DRIVER_OK


# Saving


def test_a_saved_state_with_other_queues_is_rejected(echo):
    state = echo.guest.device.save()
    with pytest.raises(StateError, match="the saved state has vectors for 0 queues, not 2"):
        echo.guest.device.load(attrs.evolve(state, chosen=b"\0\0"))


def test_a_saved_vector_that_there_is_not_is_none(echo):
    state = echo.guest.device.save()
    echo.guest.device.load(attrs.evolve(state, chosen=b"\x03\0\x02\0\xff\xff"))
    assert echo.guest.device.save().chosen == b"\xff\xff\x02\0\xff\xff"


# A device that C serves


@pytest.fixture
def native(drive):
    return drive(Native1())


def test_c_sends_the_queues_message(native):
    native.start(queues=2)
    for queue in (1, 0, 1):
        ask(native, queue=queue, at=DATA + 0x400 * queue)
        assert until(native.queues[queue].done)
        until(lambda: native.guest.messages)
        assert native.guest.messages.pop() == (LOCAL_APIC, FIRST_VECTOR + 1 + queue)
    assert not native.guest.hurry  # Python's queue of writes is not used


def test_a_notification_of_what_c_serves_needs_no_python(native):
    native.start(queues=2)
    calls = native.guest.calls
    for queue in (0, 1):
        ask(native, queue=queue, at=DATA + 0x400 * queue)
        assert until(native.queues[queue].done)
    assert native.guest.calls == calls


def mask(driver, vector, masked):
    driver.guest.write(driver.table + 16 * vector + 12, int(masked), 4)


def test_a_message_that_is_masked_is_pending_and_sent_later(native):
    native.start(queues=2)
    mask(native, 2, True)
    ask(native, queue=1)
    assert until(native.queues[1].done)
    until(lambda: native.guest.read(R.PENDING, 8) == 0b100)
    assert native.guest.messages == []
    mask(native, 2, False)
    assert until(lambda: native.guest.messages) == [(LOCAL_APIC, FIRST_VECTOR + 2)]
    assert native.guest.read(R.PENDING, 8) == 0


def test_a_pending_message_is_saved(native, connect):
    native.start(queues=2)
    mask(native, 1, True)
    ask(native)
    assert until(native.queues[0].done)
    until(lambda: native.guest.read(R.PENDING, 8))
    other = connect(Native1())
    other.device.load(native.guest.device.save())
    other.write(native.table + 16 + 12, 0, 4)
    assert other.messages == [(LOCAL_APIC, FIRST_VECTOR + 1)]


def test_a_queue_whose_vector_changes_sends_the_other_message(native):
    native.start(queues=2)
    common(native, R.QUEUE_SELECT, 0)
    common(native, R.QUEUE_MSIX_VECTOR, 2)
    ask(native)
    assert until(native.queues[0].done)
    assert until(lambda: native.guest.messages) == [(LOCAL_APIC, FIRST_VECTOR + 2)]


def test_the_data_path_rests_while_it_may_not_access_memory(native):
    native.start()
    native.configure(P.COMMAND, P.MEMORY_SPACE, 2)
    ask(native)
    time.sleep(0.01)
    assert native.queues[0].done() == []
    native.configure(P.COMMAND, P.MEMORY_SPACE | P.BUS_MASTER, 2)
    assert until(native.queues[0].done)


def test_without_msix_the_device_thread_asserts_inta(connect, memory):
    driver = PCIDriver(connect(Native1()), memory, msix=False).start()
    ask(driver)
    assert until(driver.queues[0].done)
    until(driver.guest.troubled)
    driver.guest.device.tick()
    assert driver.guest.level
    assert (driver.acknowledge(), driver.acknowledge(), driver.guest.level) == (V.USED_BUFFER, 0, False)


def test_inta_that_a_save_came_before_is_asserted_in_the_other_machine(connect, memory):
    driver = PCIDriver(connect(Native1()), memory, msix=False).start()
    ask(driver)
    assert until(driver.queues[0].done)
    with driver.guest.paths[0].held():
        state = driver.guest.device.save()  # before the tick that asserts it
    other = connect(Native1())
    other.device.load(state)
    other.device.tick()
    assert other.level


# Hostile guests

OFFSETS = st.sampled_from(
    [*R.WIDTHS, R.ISR, R.CONFIG, R.NOTIFY, R.NOTIFY + 4, R.NOTIFY + 8, R.TABLE + 12, R.TABLE + 0x800, R.PENDING]
) | st.integers(0, R.SIZE)
SPACE = st.integers(0, 0xFF).map(lambda at: CONFIGURATION + at)
VALUES = st.sampled_from((0, 1, 2, 4, 6, 8, 11, 15, 0x1000, 0x8000, 0x10000, 0xC000, 0xE0000000)) | st.integers(0)


@given(
    prepared=st.booleans(),
    accesses=st.lists(st.tuples(st.booleans(), OFFSETS | SPACE, st.sampled_from((1, 2, 4, 8)), VALUES), max_size=60),
    rings=st.binary(max_size=200),
)
def test_no_access_makes_a_device_fail(plug, transport, prepared, accesses, rings):
    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
    made = PCI.of(Echo)(Echo(), lambda text: None, (layout.PCI_MEMORY,), 10)
    driver = PCIDriver(plug(made, memory=memory, firsts=REGIONS), memory)
    if prepared:
        driver.start(queues=2, size=4)
    memory.write(0x10000, rings)
    for write, offset, size, value in accesses:
        if offset + size > (R.SIZE if offset <= R.SIZE else CONFIGURATION + 256):
            continue
        if write:
            driver.guest.write(offset, value & (1 << 8 * size) - 1, size)
        else:
            assert 0 <= driver.guest.read(offset, size) < 1 << 8 * size
    driver.guest.flush()
    driver.guest.let_pass(1)
    driver.enable()
    driver.start()
    ask(driver)
    assert len(driver.queues[0].done()) == 1
    memory.close()


def test_the_decoder_names_every_register_of_the_transport(transport):
    """No two by one name."""
    offsets = [*R.WIDTHS, R.ISR, R.NOTIFY, *(R.TABLE + at for at in range(0, 32, 4)), R.PENDING]
    names = [mmio.register(layout.PCI_MEMORY + R.SIZE + offset, "virtio-rng0")[1].name for offset in offsets]
    assert [name for name in names if name.startswith("+")] == []
    assert len({*names}) == len(offsets)
