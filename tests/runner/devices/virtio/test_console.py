"""The virtio console (virtio 1.2, 5.3), as a driver written from the specification drives it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.device import Board
from runner.devices.state import StateError
from runner.devices.virtio.console import HOST_BUFFER, MOST, PIECE, Console, ConsoleState, PortState
from runner.devices.virtio.mmio import MMIO
from tests.fakes.virtqueuefake import INDIRECT_DESC, VERSION_1, Buffer
from vmspec.registers import virtio as V
from vmspec.registers import virtio_console as R

DATA, ROOM = 0x80000, 0x90000
MULTI = VERSION_1 | INDIRECT_DESC | R.MULTIPORT
NAMES = ("result", "org.example.agent")


@pytest.fixture(params=["mmio", "pci"])
def transport(request):
    return request.param


@pytest.fixture
def console(drive):
    return drive(Console()).start(queues=2)


@pytest.fixture
def ports(drive):
    """A driver of a console with two named ports, with buffers for control messages."""
    driver = drive(Console(NAMES)).start(queues=8, features=MULTI)
    offer(driver, R.CONTROL_IN, *[64] * 7)
    return driver


def send(driver, queue, data, notify=True):
    driver.memory.write(DATA, data)
    driver.queues[queue].add([Buffer(DATA, len(data))])
    if notify:
        driver.notify(queue)
    return driver.queues[queue].done()


def offer(driver, queue, *sizes):
    """Buffers for the device to write."""
    for size in sizes:
        at = ROOM + 0x1000 * queue + 64 * driver.queues[queue].free[0]
        driver.queues[queue].add([Buffer(at, size, write=True)])
    driver.notify(queue)


def got(driver, queue):
    """What the device has written into the buffers of a queue."""
    return [
        driver.memory.read(ROOM + 0x1000 * queue + 64 * head, written) for head, written in driver.queues[queue].done()
    ]


def told(driver):
    return [(*struct.unpack("<IHH", message[:8]), message[8:]) for message in got(driver, R.CONTROL_IN)]


def tell(driver, port, event, value=1):
    return send(driver, R.CONTROL_OUT, struct.pack("<IHH", port, event, value))


def receive(driver, data, port=0):
    driver.guest.device.ends()[port].receive(data)


# The console alone


def test_a_driver_finds_a_console(drive):
    driver = drive(Console())
    assert driver.read(V.DEVICE_ID) == 3
    assert driver.offered() & 7 == R.SIZE | R.EMERG_WRITE
    driver.write(V.QUEUE_SEL, 2)
    assert driver.read(V.QUEUE_NUM_MAX) == 0
    assert driver.read_configuration(R.MAX_NR_PORTS, 4) == 1
    assert driver.read_configuration(R.EMERG_WR, 4) == 0


def test_text_goes_to_the_console(console):
    assert send(console, 1, b"hello ") == [(0, 0)]
    send(console, 1, b"world")
    assert console.guest.port_text == {0: b"hello world"}


def test_input_waits_for_buffers_and_comes_in_order(console):
    receive(console, b"abcdefgh")
    assert console.guest.device.ends()[0].room() == HOST_BUFFER - 8
    offer(console, 0, 3, 3)
    assert got(console, 0) == [b"abc", b"def"]
    offer(console, 0, 16)
    assert got(console, 0) == [b"gh"]
    offer(console, 0, 16)
    receive(console, b"ij")
    assert got(console, 0) == [b"ij"]
    assert console.guest.device.ends()[0].room() == HOST_BUFFER


def test_buffers_without_room_are_given_back_and_lose_nothing(console):
    receive(console, b"abc")
    console.queues[0].add([Buffer(DATA, 4)])  # to be read
    console.notify(0)
    assert console.queues[0].done() == [(0, 0)]
    offer(console, 0, 16)
    assert b"".join(got(console, 0)) == b"abc"


@given(chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6), sizes=st.lists(st.integers(1, 64), max_size=8))
def test_input_arrives_whole_however_it_and_the_buffers_come(plug, chunks, sizes):
    from runner.memory import GuestMemory
    from tests.fakes.virtiodriver import Driver
    from vmspec.plan.calls import Slot

    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
    driver = Driver(plug(MMIO.of(Console)(Console(), print), memory=memory), memory).start(queues=2)
    seen = b""
    for chunk in chunks:
        receive(driver, chunk)
        if sizes:
            offer(driver, 0, sizes.pop())
        seen += b"".join(got(driver, 0))
    while seen != b"".join(chunks):
        offer(driver, 0, 64)
        piece = b"".join(got(driver, 0))
        assert piece
        seen += piece
    memory.close()


def test_text_longer_than_a_piece_goes_on_where_the_piece_ended(console):
    """A chain may be longer than what is copied at once."""
    text = bytes(at * 7 & 0xFF for at in range(PIECE + 100))
    console.memory.write(0x40000, text)
    console.queues[1].add([Buffer(0x40000, len(text))])
    console.notify(1)
    assert console.guest.port_text == {0: text}


def test_a_chain_of_a_mib_is_printed(console):
    console.memory.write(0x40000, b"x" * 0x40000)
    console.queues[1].add([Buffer(0x40000, 0x40000)] * (MOST // 0x40000), table=DATA)
    console.notify(1)
    assert (len(console.guest.port_text[0]), console.guest.notices) == (MOST, [])


def test_a_chain_of_more_than_a_mib_needs_a_reset(console):
    count = MOST // 0x40000 + 1
    console.queues[1].add([Buffer(0x40000, 0x40000)] * count, table=DATA)
    console.notify(1)
    assert console.read(V.STATUS) & V.NEEDS_RESET
    assert console.guest.notices == [
        "the guest's driver must reset it: port 0 sends 1310720 bytes at once, more than 1 MiB"
    ]
    assert (console.guest.port_text, console.queues[1].done()) == ({}, [])


def test_the_size_of_the_terminal(console):
    console.guest.device.resized(80, 24)
    assert console.acknowledge() & V.CONFIGURATION
    assert [console.read_configuration(at, 2) for at in (R.COLS, R.ROWS)] == [80, 24]


def test_an_emergency_write_prints_a_byte(console):
    console.write_configuration(R.EMERG_WR, ord("!"), 4)
    assert console.guest.text == b"!"


# Named ports


def test_what_its_table_of_the_spec_says(tmp_path):
    made = Console.make({"ports": [{"name": name} for name in NAMES]}, Board(tmp_path, ()))
    assert [port.name for port in made.ends()] == ["", *NAMES]
    assert made.features == R.SIZE | R.EMERG_WRITE | R.MULTIPORT
    assert made.queue_sizes == (64,) * 8
    assert Console.make({"ports": []}, Board(tmp_path, ())).queue_sizes == (64, 64)


def test_control_messages_tell_of_the_ports(ports):
    assert ports.read_configuration(R.MAX_NR_PORTS, 4) == 3
    tell(ports, 0xFFFFFFFF, R.DEVICE_READY)
    assert told(ports) == [(port, R.DEVICE_ADD, 0, b"") for port in range(3)]
    offer(ports, R.CONTROL_IN, 64, 64, 64)
    ports.guest.device.resized(132, 43)
    rows_then_columns = struct.pack("<HH", 43, 132)
    assert told(ports) == [(0, R.RESIZE, 0, rows_then_columns)]
    offer(ports, R.CONTROL_IN, 64)
    tell(ports, 0, R.PORT_READY)
    assert told(ports) == [
        (0, R.CONSOLE_PORT, 1, b""),
        (0, R.RESIZE, 0, rows_then_columns),
        (0, R.PORT_OPEN, 1, b""),
    ]
    offer(ports, R.CONTROL_IN, 64, 64)
    tell(ports, 2, R.PORT_READY)
    assert told(ports) == [(2, R.PORT_NAME, 1, NAMES[1].encode()), (2, R.PORT_OPEN, 1, b"")]


@pytest.mark.parametrize("message", [b"cut off", struct.pack("<IHH", 0, R.PORT_READY, 1)])
def test_nothing_is_written_into_the_drivers_own_messages(ports, message):
    assert [written for _, written in send(ports, R.CONTROL_OUT, message)] == [0]


def test_a_port_has_its_own_output(ports):
    send(ports, R.receive_queue(1) + 1, b"PASS\n")
    send(ports, 1, b"console\n")
    send(ports, R.receive_queue(2) + 1, b"agent\n")
    assert ports.guest.port_text == {0: b"console\n", 1: b"PASS\n", 2: b"agent\n"}


def test_a_port_takes_input_once_the_guest_has_opened_it(ports):
    queue = R.receive_queue(1)
    offer(ports, queue, 16)
    receive(ports, b"question", port=1)
    assert got(ports, queue) == []
    tell(ports, 1, R.PORT_OPEN)
    assert got(ports, queue) == [b"question"]
    tell(ports, 1, R.PORT_OPEN, 0)
    offer(ports, queue, 16)
    receive(ports, b"more", port=1)
    assert got(ports, queue) == []


def test_a_driver_without_the_feature_has_one_port(drive):
    driver = drive(Console(NAMES)).start(queues=4)
    tell(driver, 0, R.DEVICE_READY)
    receive(driver, b"input")
    driver.queues[0].add([Buffer(ROOM, 16, write=True)])
    driver.notify(R.CONTROL_IN)
    assert got(driver, 0) == []  # another queue was notified
    send(driver, 1, b"text")
    assert driver.guest.port_text == {0: b"text"}


MESSAGES = st.binary(max_size=12) | st.builds(
    struct.pack, st.just("<IHH"), st.integers(0, 4), st.integers(0, 9), st.integers(0, 2)
)


@given(messages=st.lists(MESSAGES, max_size=60))
def test_whatever_a_driver_says_and_never_hears_is_bounded(plug, messages):
    from runner.memory import GuestMemory
    from tests.fakes.virtiodriver import Driver
    from vmspec.plan.calls import Slot

    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
    device = Console(NAMES)
    driver = Driver(plug(MMIO.of(Console)(device, print), memory=memory), memory).start(queues=8, features=MULTI)
    for message in messages:
        if message:
            assert send(driver, R.CONTROL_OUT, message) == [(0, 0)] or driver.queues[R.CONTROL_OUT].free
    state = device.save()
    assert len(state.messages) <= 2 * 3 * R.EVENTS
    device.load(state)
    assert device.save() == state
    memory.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ports": ()}, "the saved state has 0 ports; this console has 1"),
        ({"messages": b"\1\3"}, "the saved state has control messages of other ports or events"),
        ({"messages": b"\0\x08"}, "the saved state has control messages of other ports or events"),
    ],
)
def test_a_state_of_another_console_is_rejected(changed, said):
    state = {"columns": 0, "rows": 0, "ports": (PortState(host=b"", open=False),), "messages": b""}
    with pytest.raises(StateError, match=f"^{said}$"):
        Console().load(ConsoleState(**state | changed))


def test_a_new_console_is_as_after_a_reset(drive):
    """No port is open."""
    device = drive(Console(NAMES)).guest.device.model()
    new = device.save()
    device.reset()
    assert device.save() == new


@pytest.mark.parametrize("names", [(), NAMES])
def test_a_new_console_has_no_size(names):
    assert Console(names).configuration() == struct.pack("<HHII", 0, 0, len(names) + 1, 0)


@pytest.mark.parametrize("start", [False, True])
def test_a_new_size_without_a_driver_is_no_message(drive, start):
    driver = drive(Console(NAMES))
    if start:
        driver.start(queues=8, features=MULTI).write(V.STATUS, 0)
    device = driver.guest.device.model()
    device.resized(132, 43)
    saved = device.save()
    assert (saved.columns, saved.rows, saved.messages) == (132, 43, b"")


def test_a_reset_keeps_the_hosts_bytes(console):
    receive(console, b"waits")
    console.start(queues=2)
    offer(console, 0, 16)
    assert got(console, 0) == [b"waits"]


@pytest.mark.parametrize("names", [(), NAMES])
def test_each_queue_says_what_its_requests_are_for(names):
    """In the order of 5.3.2: the first port, control messages, the others."""
    made = Console(names)
    pair = ["console-in", "console-out"]
    assert [*made.queue_kinds] == ([*pair, "event", "control", *(pair * len(names))] if names else pair)
    assert len(made.queue_kinds) == len(made.queue_sizes)


def test_a_magic_sysrq_is_control_o_and_the_key(console):
    offer(console, 0, 64)
    console.guest.device.model().sysrq("t")
    assert got(console, 0) == [b"\x0ft"]


def test_a_magic_sysrq_without_room_is_lost(console):
    receive(console, bytes(HOST_BUFFER - 1))
    console.guest.device.model().sysrq("t")
    assert console.guest.device.ends()[0].room() == 1
