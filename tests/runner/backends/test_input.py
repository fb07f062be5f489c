import os
import pty
import queue
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from runner.backends.input import Input
from runner.loop import Loop


class Guest:
    """Takes input in portions of ``room`` bytes, in a device thread of its own."""

    def __init__(self, room=1 << 20):
        self.space = room
        self.got = b""
        self.commands = []
        self.changed = threading.Condition()
        self.later = None
        self.asked = 0  # how often it was asked for its room
        self.errands = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while (errand := self.errands.get()) is not None:
            errand()

    def call(self, errand):
        self.errands.put(errand)

    def room(self, later):
        with self.changed:
            self.asked += 1
            self.later = None if self.space else later
            self.changed.notify_all()
            return self.space

    def receive(self, data):
        with self.changed:
            self.space -= len(data)
            self.got += data
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def grow(self, space):
        with self.changed:
            self.space = space
            later, self.later = self.later, None
        if later is not None:
            self.call(later)

    def command(self, name):
        with self.changed:
            self.commands.append(name)
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 20)


class Typed:
    """A terminal that may be read while it is ours."""

    ours = True

    def take(self):
        return self.ours


class Reading:
    """Inputs on a loop that a thread turns, until :meth:`close`."""

    def __init__(self):
        self.loop = Loop()
        self.inputs, self.guests, self.fds = [], [], []
        self.ended = False
        self.turns = 0
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.ended:
            self.loop.turn()
            self.turns += 1

    def read(self, fd, guest, terminal=None):
        self.guests.append(guest)
        self.inputs.append(Input(fd, terminal, guest, guest.command, self.loop))
        self.inputs[-1].start()

    def pipe(self, guest, terminal=None):
        source, sink = os.pipe()
        self.fds += (source, sink)
        self.read(source, guest, terminal)
        return sink

    def close(self):
        for guest in self.guests:
            guest.call(None)
            guest.thread.join()
        self.ended = True
        self.loop.wake()
        self.thread.join()
        for each in self.inputs:
            each.stop()
        self.loop.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def reading(descriptors):
    before = descriptors()
    made = Reading()
    yield made
    made.close()
    assert descriptors() == before


def test_input_reaches_the_guest(reading):
    guest = Guest()
    os.write(reading.pipe(guest), b"ls\n")
    guest.wait(lambda: guest.got == b"ls\n")


def test_the_guest_gets_no_more_than_it_has_room_for(reading):
    guest = Guest(room=3)
    os.write(reading.pipe(guest), b"abcdefgh")
    guest.wait(lambda: guest.got == b"abc")
    time.sleep(0.05)
    assert guest.got == b"abc"


def test_the_rest_follows_when_there_is_room(reading):
    guest = Guest(room=3)
    os.write(reading.pipe(guest), b"abcdefgh")
    guest.wait(lambda: guest.got == b"abc" and guest.later)
    guest.grow(100)
    guest.wait(lambda: guest.got == b"abcdefgh")


def test_a_guest_without_room_is_not_asked_again_and_again(reading):
    guest = Guest(room=0)
    os.write(reading.pipe(guest), b"abcdefgh")
    guest.wait(lambda: guest.later)
    asked, turns = guest.asked, reading.turns
    time.sleep(0.3)
    assert (guest.asked, reading.turns) == (asked, turns)


def test_a_guest_without_room_holds_its_source_back(reading):
    guest = Guest(room=0)
    sink = reading.pipe(guest)
    os.set_blocking(sink, False)
    written = 0
    with suppress(BlockingIOError):
        while written < 10 << 20:
            written += os.write(sink, b"x" * 4096)
            time.sleep(0.0005)
    assert written < 1 << 20  # the pipe's 64 KiB and what the reader holds


def test_all_of_a_long_input_reaches_a_guest_that_takes_it_in_portions(reading):
    guest = Guest(room=100)
    data = bytes(range(256)) * 400
    sink = reading.pipe(guest)
    threading.Thread(target=os.write, args=(sink, data)).start()
    while len(guest.got) < len(data):
        guest.wait(lambda: guest.later or guest.got == data)
        guest.grow(100)
    assert guest.got == data


def test_a_terminal_is_read_for_its_escape_though_the_guest_has_no_room(reading):
    guest = Guest(room=0)
    sink = reading.pipe(guest, Typed())
    os.write(sink, b"typed ahead")
    time.sleep(0.05)
    os.write(sink, b"\x01x")
    guest.wait(lambda: guest.commands == ["x"])


def test_a_pipe_knows_no_escapes(reading):
    guest = Guest()
    os.write(reading.pipe(guest), b"\x01x")
    guest.wait(lambda: guest.got == b"\x01x")


def test_escapes_alone_do_not_end_the_input(reading):
    guest = Guest()
    sink = reading.pipe(guest, Typed())
    os.write(sink, b"\x01h")
    guest.wait(lambda: guest.commands == ["h"])
    os.write(sink, b"on")
    guest.wait(lambda: guest.got == b"on")


def test_a_terminal_of_another_job_is_read_once_it_is_ours(reading):
    guest, terminal = Guest(), Typed()
    terminal.ours = False
    os.write(reading.pipe(guest, terminal), b"typed")
    time.sleep(0.1)
    assert guest.got == b""
    terminal.ours = True
    guest.wait(lambda: guest.got == b"typed")


def test_the_end_of_the_input_is_waited_for_no_more(reading):
    guest = Guest()
    source, sink = os.pipe()
    reading.fds.append(source)
    reading.read(source, guest)
    os.write(sink, b"x")
    os.close(sink)
    guest.wait(lambda: guest.got == b"x")
    time.sleep(0.1)
    turns = reading.turns
    time.sleep(0.2)
    assert reading.turns == turns


def test_a_file_is_read_to_its_end(reading, tmp_path):
    data = bytes(range(256)) * 4000
    (tmp_path / "input").write_bytes(data)
    guest = Guest(room=10 << 20)
    with (tmp_path / "input").open("rb") as file:
        reading.read(file.fileno(), guest)
        guest.wait(lambda: guest.got == data)


def test_a_file_whose_guest_has_no_room_keeps_no_thread_behind(tmp_path):
    (tmp_path / "input").write_bytes(bytes(1 << 20))
    before = threading.active_count()
    reading, guest = Reading(), Guest(room=0)
    with (tmp_path / "input").open("rb") as file:
        reading.read(file.fileno(), guest)
        guest.wait(lambda: guest.later)
        reading.close()
    assert threading.active_count() == before


def test_what_has_no_input_at_all(reading):
    guest = Guest()
    null = os.open(os.devnull, os.O_RDONLY)
    reading.fds.append(null)
    reading.read(null, guest)
    time.sleep(0.05)
    assert guest.got == b""


def test_a_reader_that_was_quicker_does_not_keep_the_loop(reading):
    """Another process may read the same terminal, after the loop's wait and before its read."""
    user, program = pty.openpty()
    reading.fds += (user, program)
    guest = Guest()
    read, quicker = os.read, [True]
    guest.call = lambda errand, call=guest.call: call(errand)

    def slow(fd, count):
        if quicker and fd == reading.inputs[0]._fd:
            quicker.clear()
            read(program, 100)
        return read(fd, count)

    os.read = slow
    try:
        reading.read(program, guest)
        os.write(user, b"gone\n")
        while quicker:
            time.sleep(0.01)
        os.write(user, b"ours\n")
        guest.wait(lambda: guest.got == b"ours\n")
    finally:
        os.read = read


def test_a_reader_that_never_started_can_be_stopped(descriptors):
    before = descriptors()
    loop = Loop()
    Input(0, None, None, None, loop).stop()
    loop.close()
    assert (descriptors(), Path("/proc/self/fd/0").exists()) == (before, True)
