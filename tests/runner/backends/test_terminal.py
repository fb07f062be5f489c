import os
import pty
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.backends.terminal import Escapes, Input, Raw


def model(data):
    """What the help text says, over the whole input at once: (to the guest, commands)."""
    rest, commands, at = bytearray(), [], 0
    while at < len(data):
        if data[at] != 0x01:
            rest.append(data[at])
            at += 1
            continue
        match data[at + 1 : at + 2]:
            case b"\x01":
                rest.append(0x01)
            case b"x" | b"X":
                commands.append("x")
            case b"h" | b"H" | b"?":
                commands.append("h")
        at += 2
    return bytes(rest), commands


@given(st.lists(st.binary(max_size=6) | st.text("\x01xXhH?a", max_size=6).map(str.encode), max_size=6))
def test_escapes_however_the_input_is_cut(pieces):
    escapes = Escapes()
    results = [escapes.filter(piece) for piece in pieces]
    rest, commands = b"".join(rest for rest, _ in results), [name for _, names in results for name in names]
    assert (rest, commands) == model(b"".join(pieces))


@pytest.fixture
def terminal():
    """A new terminal that is this process's own; yields (the user's end, the program's end)."""
    user, program = pty.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def test_no_terminal_is_left_alone(tmp_path):
    with (tmp_path / "file").open("wb") as file, Raw(file.fileno()) as raw:
        assert not raw.active


def test_no_descriptor_is_no_terminal():
    assert not Raw(-1).active


def test_a_terminal_that_is_not_ours_is_left_alone(terminal):
    # tcgetpgrp fails with ENOTTY where the terminal is not the controlling one.
    assert not Raw(terminal[1]).active


class Guest:
    """Takes input in portions of ``room`` bytes."""

    def __init__(self, room=1 << 20):
        self.space = room
        self.got = b""
        self.commands = []
        self.largest = 0
        self.changed = threading.Condition()

    def room(self):
        with self.changed:
            return self.space

    def receive(self, data):
        with self.changed:
            self.largest = max(self.largest, len(data))
            self.space -= len(data)
            self.got += data
            self.changed.notify_all()

    def command(self, name):
        with self.changed:
            self.commands.append(name)
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, 20)


class Typed:
    """A terminal that may always be read."""

    def take(self):
        return True


@pytest.fixture
def reading():
    """Starts an Input over a new pipe: reading(guest, terminal) gives the writing end."""
    readers, fds = [], []

    def start(guest, terminal=None):
        source, sink = os.pipe()
        fds.extend((source, sink))
        readers.append(Input(source, terminal, guest.room, guest.receive, guest.command))
        readers[-1].start()
        return sink

    yield start
    for reader in readers:
        reader.stop()
        assert not reader.is_alive()
    for fd in fds:
        os.close(fd)


def test_input_reaches_the_guest(reading):
    guest = Guest()
    os.write(reading(guest), b"ls\n")
    guest.wait(lambda: guest.got == b"ls\n")


def test_the_guest_gets_no_more_than_it_has_room_for(reading):
    guest = Guest(room=3)
    os.write(reading(guest), b"abcdefgh")
    guest.wait(lambda: guest.got == b"abc")
    time.sleep(0.05)
    assert guest.got == b"abc"


def test_the_rest_follows_when_there_is_room(reading):
    guest = Guest(room=3)
    os.write(reading(guest), b"abcdefgh")
    guest.wait(lambda: guest.got == b"abc")
    with guest.changed:
        guest.space = 100
    guest.wait(lambda: guest.got == b"abcdefgh")


def test_a_guest_without_room_holds_its_source_back(reading):
    guest = Guest(room=0)
    sink = reading(guest)
    os.set_blocking(sink, False)
    written = 0
    with suppress(BlockingIOError):
        while written < 10 << 20:
            written += os.write(sink, b"x" * 4096)
            time.sleep(0.0005)
    assert written < 1 << 20  # the pipe's 64 KiB and what the reader holds


def test_a_terminal_is_read_for_its_escape_though_the_guest_has_no_room(reading):
    guest = Guest(room=0)
    sink = reading(guest, Typed())
    os.write(sink, b"typed ahead")
    time.sleep(0.05)
    os.write(sink, b"\x01x")
    guest.wait(lambda: guest.commands == ["x"])


def test_a_pipe_knows_no_escapes(reading):
    guest = Guest()
    os.write(reading(guest), b"\x01x")
    guest.wait(lambda: guest.got == b"\x01x")


def test_escapes_alone_do_not_end_the_input(reading):
    guest = Guest()
    sink = reading(guest, Typed())
    os.write(sink, b"\x01h")
    guest.wait(lambda: guest.commands == ["h"])
    os.write(sink, b"on")
    guest.wait(lambda: guest.got == b"on")


def test_the_end_of_the_input_costs_no_processor_time():
    guest = Guest()
    source, sink = os.pipe()
    reader = Input(source, None, guest.room, guest.receive, guest.command)
    os.close(sink)
    reader.start()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    used = time.process_time() - before
    reader.stop()
    os.close(source)
    assert used < 0.1


def test_a_reader_that_never_started_can_be_stopped(descriptors):
    before = descriptors()
    guest = Guest()
    Input(0, None, guest.room, guest.receive, guest.command).stop()
    assert descriptors() == before
