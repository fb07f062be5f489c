"""The bus: which device answers, what C answers for it, and the order in which accesses reach Python."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.device import Device, DeviceError
from runner.devices.services import Native, Services
from runner.machine.bus import BULK, Buses
from runner.machine.clock import HostClock
from runner.machine.inputs import Inputs
from runner.native import _native
from runner.recording.rings import Rings
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice
from vmspec.trace.record import FLAGS

ffi, lib = _native.ffi, _native.lib
BASE = 0x300


class Notes(Device):
    """Writes down what it is asked; reads give what ``answer`` says."""

    def __init__(self):
        self.calls = []
        self.answer = 0x55

    def read(self, region, offset, size):
        self.calls.append(("read", offset, size))
        return self.answer

    def write(self, region, offset, size, value):
        self.calls.append(("write", offset, size, value))

    def written(self, region, offset, size, data):
        self.calls.append(("written", offset, size, data))

    def receive(self, data):
        self.calls.append(("receive", data))

    def tick(self):
        self.calls.append(("tick",))


@frozen
class Board:
    """A bus with its devices, the loop of one vCPU, and what failed."""

    buses: Buses
    devices: list
    loop: object
    rings: Rings
    failures: list

    def out(self, port, data, size=None):
        self._finish(self.loop.io(port, size or len(data), data, write=True))

    def store(self, address, data):
        self._finish(self.loop.mmio(address, data, write=True))

    def into(self, port, size=1, count=1):
        self._finish(self.loop.io(port, size, b"\xcc" * size * count, write=False))
        return self.loop.port_data(size * count)

    def load(self, address, size):
        self._finish(self.loop.mmio(address, b"\xcc" * size, write=False))
        return self.loop.mmio_data(size)

    def _finish(self, access):
        while access:
            self.buses.answer(access)
            access = self.loop.go_on()

    def last(self):
        return self.rings.last(0, 1)[0]

    def flags(self):
        return self.last()["flags"]

    def close(self):
        self.buses.close()
        self.rings.close()


def make_board(make_loop, *devices):
    """A :class:`Board` of devices with their regions."""
    planned = [PlannedDevice(f"d{n}", "python", {}, tuple(regions)) for n, (_, *regions) in enumerate(devices)]
    failures = []
    buses = Buses(planned, HostClock(), Inputs(), failures.append)
    rings = Rings(1, 64, "wait", None)
    rings.start(1_000_000)
    for index, (device, *_) in enumerate(devices):
        buses.devices.append(device)
        after = lambda delay, index=index: buses.after(index, delay)  # noqa: E731
        device.attach(Services(buses.end_of(index), None, None, None, None, None, HostClock(), after))
    return Board(buses, [device for device, *_ in devices], make_loop(buses.bus, rings.ring(0)), rings, failures)


@pytest.fixture
def build(make_loop):
    """Builds a :class:`Board` from devices with their regions."""
    built = []

    def board(*devices):
        built.append(make_board(make_loop, *devices))
        return built[-1]

    yield board
    for made in built:
        made.close()


@pytest.fixture
def board(build):
    """One device at ports 0x300-0x30f and 0x400."""
    return build((Notes(), Region("io", "port", 16, BASE), Region("more", "port", 1, 0x400)))


def calls(board):
    return board.devices[0].calls


# Nobody's addresses


@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_unclaimed_port_reads_all_ones(board, size):
    assert board.into(0x80, size) == b"\xff" * size


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_unclaimed_memory_reads_all_ones(board, size):
    assert board.load(0xD0000000, size) == b"\xff" * size


def test_an_unclaimed_string_read_fills_every_item(board):
    assert board.into(0x80, 2, 2000) == b"\xff" * 4000


def test_unclaimed_is_recorded(board):
    board.into(0x80, 4)
    last = board.last()
    assert (last["flags"], last["device"], last["data"]) == (FLAGS["UNCLAIMED"], -1, 0xFFFFFFFF)


def test_an_unclaimed_write_is_recorded_with_its_data(board):
    board.out(0x80, b"\x12\x34")
    assert (board.flags(), board.last()["data"]) == (FLAGS["UNCLAIMED"], 0x3412)


# The device's Python side


def test_a_read_asks_the_device(board):
    assert (board.into(BASE + 3), calls(board)) == (b"\x55", [("read", 3, 1)])


def test_an_answer_is_cut_to_the_access(board):
    board.devices[0].answer = 0x12345678
    assert board.into(BASE, 2) == b"\x78\x56"


def test_a_negative_answer_is_all_ones_above(board):
    board.devices[0].answer = -2
    assert board.into(BASE, 4) == b"\xfe\xff\xff\xff"


def test_a_write_tells_the_device(board):
    board.out(BASE + 1, b"\x78\x56\x34\x12")
    assert calls(board) == [("write", 1, 4, 0x12345678)]


def test_offsets_count_from_the_start_of_each_region(board):
    asked = []
    board.devices[0].read = lambda *access: asked.append(access) or 0
    board.into(0x400)
    board.into(BASE + 15)
    assert asked == [("more", 0, 1), ("io", 15, 1)]


def test_python_is_recorded(board):
    board.out(BASE, b"a")
    assert (board.flags(), board.last()["device"]) == (FLAGS["PYTHON"], 0)


def test_what_a_device_answered_is_recorded(board):
    board.into(BASE)
    assert board.last()["data"] == 0x55


def test_string_output_is_one_call_for_each_item_at_the_same_offset(board):
    board.out(BASE + 2, b"\x01\x00\x02\x00\x03\x00", size=2)
    assert calls(board) == [("write", 2, 2, number) for number in (1, 2, 3)]


def test_string_input_is_one_call_for_each_item(board):
    answers = iter(b"abc")
    board.devices[0].read = lambda region, offset, size: next(answers)
    assert board.into(BASE, 1, 3) == b"abc"


def test_a_device_that_raises_is_reported(board):
    board.devices[0].read = lambda region, offset, size: {}["no such register"]
    board.into(BASE)
    [error] = board.failures
    assert str(error).startswith(f"device d0 raised KeyError: 'no such register' ({__file__}:")


def test_a_read_that_gives_no_number_is_reported(board):
    board.devices[0].read = lambda region, offset, size: None
    assert board.into(BASE) == b"\xff"
    assert "read() returned None, not an int" in str(board.failures[0])


def test_a_read_that_raised_gives_all_ones(board):
    board.devices[0].read = lambda region, offset, size: 1 // 0
    assert board.into(BASE, 2) == b"\xff\xff"


def test_a_write_that_raised_is_recorded_as_it_was(board):
    board.devices[0].write = lambda region, offset, size, value: 1 // 0
    board.out(BASE, b"\x12\x34")
    assert board.last()["data"] == 0x3412


# What is published


def test_a_published_register_needs_no_python(board):
    board.devices[0].bus.shadow("io", 5, 0x20)
    assert (board.into(BASE + 5), calls(board), board.flags()) == (b"\x20", [], FLAGS["PUBLISHED"])


def test_the_latest_value_counts(board):
    board.devices[0].bus.shadow("io", 5, 0x20)
    board.devices[0].bus.shadow("io", 5, 0x21)
    assert board.into(BASE + 5) == b"\x21"


def test_publishing_none_brings_reads_back_to_python(board):
    board.devices[0].bus.shadow("io", 5, 0x20)
    board.devices[0].bus.shadow("io", 5, None)
    assert (board.into(BASE + 5), calls(board)) == (b"\x55", [("read", 5, 1)])


def test_another_width_comes_to_python(board):
    board.devices[0].bus.shadow("io", 5, 0x20)
    board.into(BASE + 5, 2)
    assert calls(board) == [("read", 5, 2)]


def test_each_width_may_be_published(board):
    board.devices[0].bus.shadow("io", 4, 0xAABBCCDD, size=4)
    board.devices[0].bus.shadow("io", 4, 0x11)
    assert (board.into(BASE + 4, 4), board.into(BASE + 4)) == (b"\xdd\xcc\xbb\xaa", b"\x11")


def test_a_published_value_is_cut_to_its_size(board):
    board.devices[0].bus.shadow("io", 5, 0x1FF)
    assert board.into(BASE + 5) == b"\xff"


def test_string_input_of_a_published_register_repeats_it(board):
    board.devices[0].bus.shadow("io", 0, 0x1234, size=2)
    assert board.into(BASE, 2, 3) == b"\x34\x12" * 3


def test_publishing_reads_leaves_writes_alone(board):
    board.devices[0].bus.shadow("io", 5, 0x20)
    board.out(BASE + 5, b"a")
    assert calls(board) == [("write", 5, 1, ord("a"))]


def test_a_discarded_write_reaches_nobody(board):
    board.devices[0].bus.writes("io", 5, "ignored")
    board.out(BASE + 5, b"a")
    board.buses.flush()
    assert (calls(board), board.flags()) == ([], FLAGS["PUBLISHED"])


def test_delivering_none_brings_writes_back_to_python(board):
    board.devices[0].bus.writes("io", 5, "ignored")
    board.devices[0].bus.writes("io", 5, None)
    board.out(BASE + 5, b"a")
    assert calls(board) == [("write", 5, 1, ord("a"))]


def test_a_region_publishes_at_most_64_registers(build):
    bus = build((Notes(), Region("io", "port", 128, BASE), Region("more", "port", 1, 0x400))).devices[0].bus
    for offset in range(64):
        bus.shadow("io", offset, 0)
    with pytest.raises(DeviceError, match="at most 64"):
        bus.shadow("io", 64, 0)
    bus.shadow("more", 0, 0)


@pytest.mark.parametrize(("offset", "size"), [(16, 1), (15, 2), (-1, 1), (0, 3), (1 << 64, 1)])
@pytest.mark.parametrize("call", [("shadow", 0), ("writes", "coalesced"), ("shadow_writes", 1)])
def test_a_register_outside_the_region_is_rejected(board, call, offset, size):
    name, value = call
    with pytest.raises(DeviceError, match=f"'io' has no register of {size} bytes at offset {offset:#x}"):
        getattr(board.devices[0].bus, name)("io", offset, value, size)


def test_a_region_that_the_device_has_not_is_rejected(board):
    with pytest.raises(DeviceError, match="device d0 has 'io', 'more', not 'rom'"):
        board.devices[0].bus.shadow("rom", 0, 0)


# What is queued


def test_queued_writes_wait_for_the_device_thread(board):
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.out(BASE, b"a")
    assert (calls(board), board.flags()) == ([], FLAGS["QUEUED"])


def test_queued_writes_of_a_register_come_in_one_piece(board):
    board.devices[0].bus.writes("io", 0, "coalesced")
    for byte in (b"a", b"b", b"c"):
        board.out(BASE, byte)
    board.buses.flush()
    assert calls(board) == [("written", 0, 1, b"abc")]


def test_queued_writes_of_two_registers_keep_their_order(board):
    for offset in (0, 1):
        board.devices[0].bus.writes("io", offset, "coalesced")
    for offset, byte in ((0, b"a"), (0, b"b"), (1, b"c"), (0, b"d")):
        board.out(BASE + offset, byte)
    board.buses.flush()
    assert calls(board) == [("written", 0, 1, b"ab"), ("written", 1, 1, b"c"), ("written", 0, 1, b"d")]


def test_writes_of_two_widths_are_two_pieces(board):
    for size in (1, 2):
        board.devices[0].bus.writes("io", 0, "coalesced", size)
    board.out(BASE, b"a")
    board.out(BASE, b"bc")
    board.buses.flush()
    assert calls(board) == [("written", 0, 1, b"a"), ("written", 0, 2, b"bc")]


def test_string_output_is_queued_whole(board):
    board.devices[0].bus.writes("io", 0, "coalesced")
    text = bytes(range(250)) * 16
    board.out(BASE, text, size=1)
    board.buses.flush()
    assert calls(board) == [("written", 0, 1, text)]


@pytest.mark.parametrize("access", ["read", "write"])
def test_queued_writes_come_before_a_later_access(board, access):
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.out(BASE, b"a")
    board.into(BASE + 1) if access == "read" else board.out(BASE + 1, b"b")
    assert [call[0] for call in calls(board)] == ["written", access]


def test_nothing_is_handed_over_twice(board):
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.out(BASE, b"a")
    board.buses.flush()
    board.buses.flush()
    assert len(calls(board)) == 1


@pytest.fixture
def pair(build):
    """Two devices at 0x300 and 0x310, each with a queued register at offset 0, and what was called in which order."""
    board = build((Notes(), Region("io", "port", 16, BASE)), (Notes(), Region("io", "port", 16, BASE + 16)))
    order = []
    for device in board.devices:
        device.bus.writes("io", 0, "coalesced")
        device.written = lambda region, offset, size, data, device=device: order.append((device, data))
        device.write = lambda region, offset, size, value, device=device: order.append((device, value))
    return board, order


def test_queued_writes_of_two_devices_come_in_the_order_of_the_guest(pair):
    board, order = pair
    for device, byte in ((0, b"a"), (0, b"b"), (1, b"1"), (0, b"c"), (1, b"2"), (1, b"3")):
        board.out(BASE + 16 * device, byte)
    board.buses.flush()
    one, two = board.devices
    assert order == [(one, b"ab"), (two, b"1"), (one, b"c"), (two, b"23")]


def test_an_access_that_python_answers_does_not_overtake_what_is_queued_for_another_device(pair):
    board, order = pair
    board.out(BASE, b"a")
    board.out(BASE + 17, b"\x01")
    board.out(BASE, b"b")
    board.buses.flush()
    one, two = board.devices
    assert order == [(one, b"a"), (two, 1), (one, b"b")]


@pytest.mark.parametrize("how", ["coalesced", None])
def test_writes_of_two_vcpus_keep_the_order_of_each(pair, make_loop, how):
    """A second vCPU writes to the second device, through the queue or past it."""
    board, order = pair
    board.devices[1].bus.writes("io", 0, how)
    rings = Rings(1, 64, "drop", None)
    rings.start(1_000_000)
    other = make_loop(board.buses.bus, rings.ring(0))

    def write(loop, port, letters):
        for letter in letters:
            access = loop.io(port, 1, bytes((letter,)), write=True)
            while access:
                board.buses.answer(access)
                access = loop.go_on()

    texts = b"abcdefgh" * 100, b"01234567" * 100
    thread = threading.Thread(target=write, args=(other, BASE + 16, texts[1]))
    thread.start()
    write(board.loop, BASE, texts[0])
    thread.join()
    board.buses.flush()
    rings.close()
    for device, text in zip(board.devices, texts, strict=True):
        got = (data for name, data in order if name is device)
        assert b"".join(bytes((data,)) if isinstance(data, int) else data for data in got) == text


def test_more_runs_than_the_queue_takes_wake_the_device_thread(pair, monkeypatch):
    monkeypatch.setattr("runner.machine.bus.LINGER", 20_000)
    rounds = lib.BUS_PIECES // 2 + 256  # more than fit; what is left after one handing over does
    board, order = pair
    thread = threading.Thread(target=board.buses.deliver)
    begin = time.monotonic()
    thread.start()
    for _ in range(rounds):
        board.out(BASE, b"a")
        board.out(BASE + 16, b"1")
    thread.join()
    board.buses.flush()
    assert time.monotonic() - begin < 10
    assert [data for _, data in order] == [b"a", b"1"] * rounds


def test_a_device_that_raises_over_queued_writes_does_not_lose_those_of_another(pair):
    board, order = pair
    board.devices[0].written = Mock(side_effect=LookupError("lost"))
    board.out(BASE, b"a")
    board.out(BASE + 16, b"1")
    board.buses.flush()
    assert order == [(board.devices[1], b"1")]


def test_a_device_that_raises_over_queued_writes_is_reported(board):
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.devices[0].written = Mock(side_effect=LookupError("lost"))
    board.out(BASE, b"a")
    board.buses.flush()
    assert [str(error) for error in board.failures] == ["device d0 raised LookupError: lost"]


# What is shadowed


def test_a_latched_write_is_what_is_read_and_comes_to_the_device_later(board):
    board.devices[0].bus.shadow("io", 1, 0)
    board.devices[0].bus.shadow_writes("io", 1, 0x0F)
    board.out(BASE + 1, b"\x05")
    assert (board.into(BASE + 1), calls(board)) == (b"\x05", [])
    board.buses.flush()
    assert calls(board) == [("written", 1, 1, b"\x05")]


def test_a_write_outside_the_mask_comes_to_python(board):
    board.devices[0].bus.shadow_writes("io", 1, 0x0D)
    board.out(BASE + 1, b"\x02")
    assert calls(board) == [("write", 1, 1, 2)]


def test_string_output_is_not_latched(board):
    board.devices[0].bus.shadow_writes("io", 1, 0x0F)
    board.out(BASE + 1, b"\x01\x02", size=1)
    assert calls(board) == [("write", 1, 1, 1), ("write", 1, 1, 2)]


def test_what_the_device_publishes_does_not_undo_a_latched_write_that_it_has_not_seen(board):
    board.devices[0].bus.shadow("io", 1, 0)
    board.devices[0].bus.shadow_writes("io", 1, 0x0F)
    board.out(BASE + 1, b"\x05")
    board.devices[0].bus.shadow("io", 1, 3)
    assert board.into(BASE + 1) == b"\x05"
    board.buses.flush()
    board.devices[0].bus.shadow("io", 1, 3)
    assert board.into(BASE + 1) == b"\x03"


def test_a_latched_write_stays_while_older_ones_are_handed_over(board):
    """As the UART's interrupt enables, which Linux turns off and on again around each message, and reads before."""
    device = board.devices[0]
    device.bus.shadow("io", 1, 5)
    device.bus.shadow_writes("io", 1, 0x0F)
    device.bus.writes("io", 0, "coalesced")
    seen = []

    def written(region, offset, size, data):
        if offset == 1:
            device.bus.shadow("io", 1, data[-1])
        seen.append(board.into(BASE + 1))

    device.written = written
    for offset, byte in ((1, b"\0"), (0, b"x"), (1, b"\5")):
        board.out(BASE + offset, byte)
    board.buses.flush()
    assert seen == [b"\5"] * 3


def test_latching_none_brings_writes_back_to_python(board):
    board.devices[0].bus.shadow_writes("io", 1, 0x0F)
    board.devices[0].bus.shadow_writes("io", 1, None)
    board.out(BASE + 1, b"a")
    assert calls(board) == [("write", 1, 1, ord("a"))]


@pytest.mark.parametrize("call", ["receive", "tick"])
def test_latched_writes_come_before_what_else_the_device_is_told(board, call):
    board.devices[0].bus.shadow_writes("io", 1, 0x0F)
    board.out(BASE + 1, b"\x05")
    if call == "receive":
        board.buses.receive(0, b"x")
    else:
        board.buses.after(0, 0)
        board.buses.deliver()
    assert [name for name, *_ in calls(board)] == ["written", call]


@pytest.fixture
def flood(board):
    """Makes the queue overflow from a thread; ``flood(offsets)`` gives the thread, which waits for room."""
    threads = []

    def start(offsets, length):
        for offset in set(offsets):
            board.devices[0].bus.writes("io", offset, "coalesced")

        def write():
            for offset in offsets:
                board.out(BASE + offset, b"x" * length, size=1)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        time.sleep(0.1)
        return threads[-1]

    yield start
    board.loop.vcpu.stopping = 1
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("offsets", "length"),
    [([0] * (lib.BUS_QUEUE // 4096 + 1), 4096), ([0, 1] * (lib.BUS_PIECES // 2) + [0], 1)],
    ids=["bytes", "pieces"],
)
def test_a_full_queue_stops_its_vcpu_until_there_is_room(board, flood, offsets, length):
    thread = flood(offsets, length)
    stopped = thread.is_alive()
    board.buses.flush()
    thread.join(20)
    board.buses.flush()
    moved = sum(len(call[3]) for call in calls(board))
    assert (stopped, thread.is_alive(), moved) == (True, False, len(offsets) * length)


def test_a_stop_does_not_lose_what_waits_for_room(board, flood):
    thread = flood([0] * (lib.BUS_QUEUE // 4096 + 1), 4096)
    board.loop.vcpu.stopping = 1
    thread.join(20)
    text = b"".join(call[3] if call[0] == "written" else bytes([call[3]]) for call in calls(board))
    assert len(text) == lib.BUS_QUEUE + 4096


# The device thread


def test_something_queued_wakes_the_device_thread(board):
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.out(BASE, b"a")
    board.buses.deliver()
    assert calls(board) == [("written", 0, 1, b"a")]


@pytest.mark.parametrize(("first", "then"), [(BULK - 1, [b"a"]), (BULK, [b"ab"])])
def test_output_in_bulk_is_handed_over_more_rarely(board, monkeypatch, first, then):
    monkeypatch.setattr("runner.machine.bus.LINGER", 0)
    monkeypatch.setattr("runner.machine.bus.BULK_LINGER", 20_000)
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.out(BASE, b"x" * first, size=1)
    board.buses.deliver()
    board.out(BASE, b"a")
    later = [threading.Timer(0.3, board.out, (BASE, b"b")), threading.Timer(0.6, board.buses.wake)]
    for timer in later:
        timer.start()
    board.buses.deliver()
    for timer in later:
        timer.join()
    assert [call[3] for call in calls(board)[1:]] == then


def test_a_wake_up_is_not_taken_for_output_that_waits_for_more(board, monkeypatch):
    monkeypatch.setattr("runner.machine.bus.LINGER", 20_000)
    thread = threading.Thread(target=board.buses.deliver)
    thread.start()
    board.buses.wake()
    thread.join(10)
    assert not thread.is_alive()


def test_an_urgent_device_is_not_kept_waiting(board, monkeypatch):
    monkeypatch.setattr("runner.machine.bus.LINGER", 20_000)
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.devices[0].bus.flush_at_once(True)
    board.out(BASE, b"a")
    begin = time.monotonic()
    board.buses.deliver()
    assert time.monotonic() - begin < 10


def test_a_full_queue_does_not_wait_for_more(board, monkeypatch):
    monkeypatch.setattr("runner.machine.bus.LINGER", 20_000)
    board.devices[0].bus.writes("io", 0, "coalesced")
    thread = threading.Thread(target=board.buses.deliver)
    begin = time.monotonic()
    thread.start()
    for _ in range(lib.BUS_QUEUE // 4096 + 1):
        board.out(BASE, b"x" * 4096, size=1)
    thread.join()
    assert time.monotonic() - begin < 10


def test_a_path_goes_on_with_its_devices_lock_held(board):
    """vCPUs may run already: one that writes to a register speaks with the same process."""
    path, taken = Mock(), []
    with ThreadPoolExecutor() as other:
        path.release.side_effect = lambda: taken.append(other.submit(lock.acquire, blocking=False).result())
        lock = board.buses._asking[0].lock
        board.buses._workers.append((0, path))
        board.buses.hold()
        board.buses.release()
        board.buses._workers.clear()
    assert taken == [False]


def test_a_timer_ticks(board):
    board.devices[0].after(1_000_000)
    while not calls(board):
        board.buses.deliver()
    assert calls(board) == [("tick",)]


def test_a_timer_ticks_once(board):
    board.devices[0].after(0)
    for _ in range(3):
        board.buses.wake()
        board.buses.deliver()
    assert calls(board) == [("tick",)]


def test_a_timer_can_be_taken_back(board):
    board.devices[0].after(0)
    board.devices[0].after(None)
    board.buses.deliver()
    assert calls(board) == []


class Serving(Notes):
    """Serves what it was told of in ticks, one after the other."""

    def written(self, region, offset, size, data):
        super().written(region, offset, size, data)
        self.left = len(data)
        self.after(0)

    def tick(self):
        super().tick()
        self.left -= 1
        if self.left:
            self.after(0)


def test_the_end_of_a_run_serves_what_drivers_have_told_of(build):
    """No vCPU runs any more, and the device thread has done nothing yet. Other timers do not matter then."""
    board = build((Serving(), Region("io", "port", 1, BASE)), (Notes(), Region("io", "port", 1, BASE + 1)))
    board.buses.planned[0] = board.buses.planned[0]._replace(transport="mmio")
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.devices[1].after(0)
    board.out(BASE, b"abc", size=1)
    board.buses.drain()
    assert board.devices[0].calls == [("written", 0, 1, b"abc"), *[("tick",)] * 3]
    assert board.devices[1].calls == []


def test_what_is_served_while_the_guest_stands_is_not_served_again_at_the_end(build):
    """A guest that goes on from a snapshot has it served then."""
    board = build((Serving(), Region("io", "port", 1, BASE)))
    board.buses.planned[0] = board.buses.planned[0]._replace(transport="mmio")
    board.devices[0].bus.writes("io", 0, "coalesced")
    board.out(BASE, b"a", size=1)
    board.buses.hold()
    served = [("written", 0, 1, b"a"), ("tick",)]
    assert board.devices[0].calls == served
    board.devices[0].left = 1
    board.devices[0].after(0)
    board.buses.drain()
    assert board.devices[0].calls == served
    board.buses.release()
    board.buses.release()  # they are not held any more
    board.buses.drain()
    assert board.devices[0].calls == [*served, ("tick",)]


def test_a_device_looks_around_when_its_data_path_goes_on(board):
    native = Native(ffi.addressof(lib, "worker_echo"), ffi.NULL)
    board.buses.data_path(0, lambda fd, call: None, native, [])
    board.buses.hold()
    board.buses.release()
    board.buses.deliver()  # asks for a tick
    board.buses.deliver()
    assert calls(board) == [("tick",)]


def test_what_a_data_path_has_reported_last_is_looked_at_before_the_device_closes(board):
    native = Native(ffi.addressof(lib, "worker_echo"), ffi.NULL)
    board.buses.data_path(0, lambda fd, call: None, native, [])
    board.buses.close_devices()
    assert calls(board) == [("tick",)]


# Across the end of a claim


@pytest.fixture
def neighbours(build):
    """Claims of two devices side by side, 0x300-0x302 and 0x303-0x304, then nobody's; the same in memory."""
    return build(
        (Notes(), Region("io", "port", 3, BASE), Region("mem", "mmio", 3, BASE)),
        (Notes(), Region("io", "port", 2, BASE + 3), Region("mem", "mmio", 2, BASE + 3)),
    )


def test_a_read_across_two_claims_asks_both(neighbours):
    neighbours.devices[1].answer = 0x77
    assert neighbours.into(BASE + 2, 2) == b"\x55\x77"
    assert [device.calls for device in neighbours.devices] == [[("read", 2, 1)], [("read", 0, 1)]]


def test_a_read_past_the_last_claim_gives_ones_there(neighbours):
    assert neighbours.load(BASE + 4, 8) == b"\x55" + b"\xff" * 7
    assert neighbours.devices[1].calls == [("read", 1, 1)]


def test_a_write_is_split_into_powers_of_two(neighbours):
    neighbours.store(BASE, b"\1\2\3\4\5\6\7\x08")
    assert neighbours.devices[0].calls == [("write", 0, 2, 0x201), ("write", 2, 1, 3)]
    assert neighbours.devices[1].calls == [("write", 0, 2, 0x504)]


def test_an_access_that_begins_below_a_claim_reaches_it(neighbours):
    neighbours.out(BASE - 1, b"\1\2")
    assert neighbours.devices[0].calls == [("write", 0, 1, 2)]


def test_each_item_of_a_string_is_split(neighbours):
    neighbours.out(BASE + 2, b"\1\2\3\4", size=2)
    assert neighbours.devices[0].calls == [("write", 2, 1, 1), ("write", 2, 1, 3)]
    assert neighbours.devices[1].calls == [("write", 0, 1, 2), ("write", 0, 1, 4)]


def test_a_split_access_is_one_row_of_the_first_device(neighbours):
    neighbours.devices[0].bus.shadow("io", 2, 0x20)
    before = neighbours.rings.counters("head")
    neighbours.into(BASE + 2, 4)
    last = neighbours.last()
    assert [b - a for a, b in zip(before, neighbours.rings.counters("head"), strict=True)] == [1]
    assert last["flags"] == FLAGS["PUBLISHED"] | FLAGS["PYTHON"] | FLAGS["SPLIT"]
    assert (last["device"], last["size"], last["count"], last["data"]) == (0, 4, 1, 0xFF005520)


def test_a_part_that_nobody_claims_does_not_make_the_row_unclaimed(neighbours):
    neighbours.out(BASE - 1, b"\1\2")
    assert (neighbours.last()["device"], neighbours.flags()) == (0, FLAGS["PYTHON"] | FLAGS["SPLIT"])


def test_an_odd_access_within_a_claim_is_split_too(build):
    """KVM makes one of an access that begins in RAM."""
    board = build((Notes(), Region("io", "mmio", 16, BASE)))
    board.store(BASE, b"\1\2\3")
    assert board.devices[0].calls == [("write", 0, 2, 0x201), ("write", 2, 1, 3)]


def test_queued_and_python_answered_parts_keep_their_order(neighbours):
    one, two = neighbours.devices
    one.bus.writes("io", 2, "coalesced")
    neighbours.out(BASE + 2, b"a1")
    assert one.calls == [("written", 2, 1, b"a")]
    assert two.calls == [("write", 0, 1, ord("1"))]


class Registers(Device):
    """A plain register model: an access past its end is an IndexError. Bytes may be published, queued, or shadowed."""

    def __init__(self, data, published, queued):
        self.data, self.published, self.queued = data, published, queued

    def start(self):
        for offset in self.published:
            self.bus.shadow("io", offset, self.data[offset])
        for offset in self.queued - self.published:
            self.bus.writes("io", offset, "coalesced")
        for offset in self.queued & self.published:
            self.bus.shadow_writes("io", offset, 0xFF)

    def read(self, region, offset, size):
        return sum(self.data[offset + at] << 8 * at for at in range(size))

    def write(self, region, offset, size, value):
        for at in range(size):
            self.data[offset + at] = value >> 8 * at & 0xFF
            if offset + at in self.published:
                self.bus.shadow("io", offset + at, self.data[offset + at])


@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(1, 9)), max_size=6),
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from((1, 2, 4)), st.integers(1, 3), st.booleans(), st.binary()),
        min_size=1,
        max_size=20,
    ),
    st.booleans(),
    st.data(),
)
def test_any_access_over_any_claims_moves_the_bytes_of_each(make_loop, spans, accesses, mmio, data):
    space, claimed, end = "mmio" if mmio else "port", [], 0
    for start, size in sorted(spans):
        if start >= end:
            claimed.append(range(start, end := start + size))
    offsets = st.sets(st.integers(0, 8))
    devices = [
        Registers(bytearray(range(len(claim))), *(
            {offset for offset in data.draw(offsets) if offset < len(claim)} for _ in range(2)
        ))
        for claim in claimed
    ]  # fmt: skip
    regions = (Region("io", space, len(claim), claim.start) for claim in claimed)
    board = make_board(make_loop, *zip(devices, regions, strict=True))
    owner = {address: (device, at) for device, claim in zip(devices, claimed, strict=True)
             for at, address in enumerate(claim)}  # fmt: skip
    model = {address: at for claim in claimed for at, address in enumerate(claim)}
    for address, width, times, write, fill in accesses:
        size, count = (data.draw(st.integers(1, 8)), 1) if mmio else (width, times)
        items = [(fill * 8 + b"\xa5" * 8)[:size]] * count
        if write:
            board.store(address, items[0]) if mmio else board.out(address, b"".join(items), size)
            model.update((address + at, byte) for at, byte in enumerate(items[0]) if address + at in model)
        else:
            got = board.load(address, size) if mmio else board.into(address, size, count)
            assert got == bytes(model.get(address + at, 0xFF) for at in range(size)) * count
        first = next((owner[address + at][0] for at in range(size) if address + at in owner), None)
        last = board.last()
        assert last["device"] == (-1 if first is None else devices.index(first))
        assert bool(last["flags"] & FLAGS["UNCLAIMED"]) == (first is None)
        assert (last["size"], last["count"]) == (size, count)
    board.buses.flush()
    board.close()
    assert {address: device.data[at] for address, (device, at) in owner.items()} == model
    assert board.failures == []


# Which range


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 20)), max_size=12),
    st.lists(st.integers(0, 260), min_size=1, max_size=20),
    st.booleans(),
)
def test_any_ranges(make_loop, spans, addresses, mmio):
    claimed, end = [], 0
    for start, size in sorted(spans):
        if start >= end:  # disjoint, as the plan's are
            claimed.append(range(start, end := start + size))
    space = "mmio" if mmio else "port"
    planned = [
        PlannedDevice(f"d{n}", "python", {}, (Region("io", space, len(r), r.start),)) for n, r in enumerate(claimed)
    ]
    buses = Buses(planned, HostClock(), Inputs(), lambda error: None)
    rings = Rings(1, 64, "wait", None)
    rings.start(1_000_000)
    loop = make_loop(buses.bus, rings.ring(0))
    found, expected = [], []
    for address in addresses:
        access = loop.mmio(address, b"a", write=True) if mmio else loop.io(address, 1, b"a", write=True)
        found.append((buses.places[access.region].device, access.offset) if access else None)
        if access:
            loop.go_on()
        expected += [next(((n, address - r.start) for n, r in enumerate(claimed) if address in r), None)]
    buses.close()
    rings.close()
    assert found == expected


def test_a_timer_is_not_lingered_over():
    planned = PlannedDevice("serial0", "serial", {}, (Region("io", "port", 8, BASE),))
    buses = Buses([planned], HostClock(), Inputs(), pytest.fail)
    buses.after(0, 1_000_000_000)
    waiting = threading.Thread(target=lib.bus_wait, args=(buses.bus, 3_600_000, -1), daemon=True)
    waiting.start()
    waiting.join(30)  # an hour's linger would outlast this
    assert not waiting.is_alive()
    buses.close()


# Bits that several threads change, and bells


def test_writes_clear_bits_of_another_register(board):
    bus = board.buses.end_of(0)
    bus.shadow("io", 4, 0b1111, 4)
    bus.clears("io", 8, 4, 4)
    board.out(BASE + 8, b"\x05\0\0\0")
    assert (board.into(BASE + 4, 4), calls(board)) == (b"\x0a\0\0\0", [])
    assert board.flags() == FLAGS["PUBLISHED"]
    assert bus.change("io", 4, set=0x10, clear=0x2, size=4) == 0x18
    assert board.into(BASE + 4, 4) == b"\x18\0\0\0"
    board.out(BASE + 8, b"\xff")  # no write of the register
    assert calls(board) == [("write", 8, 1, 0xFF)]


def test_there_are_no_bits_without_a_shadow(board):
    with pytest.raises(DeviceError, match="'io' has no shadow of 4 bytes at offset 0x4"):
        board.buses.end_of(0).change("io", 4, set=1, size=4)


def test_a_write_rings_a_bell(board):
    path = Mock()
    path.bell = ffi.new("struct bus_bell *", {"event": os.eventfd(0, os.EFD_NONBLOCK)})
    board.buses.end_of(0).rings("io", 0, path, 4)
    for number in (3, 0, 3, 63, 64, 0xFFFFFFFF):
        board.out(BASE, number.to_bytes(4, "little"))
        assert board.flags() == FLAGS["QUEUED"]
    assert (path.bell.rung, calls(board)) == (1 << 63 | 1 << 3 | 1, [])
    assert os.eventfd_read(path.bell.event) == 1  # the first write alone wakes the thread
    board.out(BASE, b"\x05\0\0\0\x06\0\0\0", size=4)
    assert path.bell.rung == 1 << 63 | 1 << 6 | 1 << 5 | 1 << 3 | 1
    os.close(path.bell.event)
