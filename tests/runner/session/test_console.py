import os
import pty
import threading
import time
from pathlib import Path

import pytest

from runner.loop import Latch
from runner.session.console import KEPT, Console, ConsoleClosed, Output


def closed_console():
    ends = []
    return Console(None, lambda error: ends.append(error.unread)), ends


def test_what_is_printed_is_kept_and_watched_without_an_output():
    watched = []
    console = Console(watched.append, lambda _: None)
    console.printer(None)(b"do")
    console.printer(None)(b"ne")
    assert (console.text(), watched) == (b"done", [b"do", b"ne"])


def test_the_newest_text_is_kept():
    console, _ = closed_console()
    write = console.printer(None)
    for _ in range(3):
        write(b"x" * KEPT)
    write(b"end")
    assert console.text() == b"x" * (KEPT - 3) + b"end"


@pytest.fixture
def pipe():
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        if fd is not None:
            os.close(fd)


def close(pipe, end):
    os.close(pipe[end])
    pipe[end] = None


@pytest.fixture
def stopping():
    """What is set once the run is to end."""
    latch = Latch()
    yield latch
    latch.close()


def test_output_reaches_the_reader(pipe, stopping):
    Output(pipe[1], stopping).write(b"x" * 2000)
    assert os.read(pipe[0], 4096) == b"x" * 2000


def test_output_waits_for_a_slow_reader(pipe, stopping):
    size, got = 300_000, bytearray()

    def read():
        while len(got) < size:
            got.extend(os.read(pipe[0], 4096))

    reader = threading.Thread(target=read)
    reader.start()
    Output(pipe[1], stopping).write(bytes(range(250)) * (size // 250))
    reader.join()
    assert got == bytes(range(250)) * (size // 250)


def test_a_stalled_reader_is_given_up_after_the_stop(pipe, stopping):
    stopping.set()
    begin = time.monotonic()
    Output(pipe[1], stopping).write(b"x" * 300_000)  # more than a pipe holds
    assert 0.5 < time.monotonic() - begin < 10


def test_a_stalled_reader_that_was_given_up_costs_little_more(pipe, stopping):
    stopping.set()
    output = Output(pipe[1], stopping)
    output.write(b"x" * 300_000)
    begin = time.monotonic()
    for _ in range(256):
        output.write(b"more")
    assert time.monotonic() - begin < 5


def test_a_closed_reader_is_told(pipe, stopping):
    close(pipe, 0)
    with pytest.raises(ConsoleClosed):
        Output(pipe[1], stopping).write(b"x")


def test_a_full_disk_is_no_closed_reader(stopping):
    with Path("/dev/full").open("wb") as full, pytest.raises(ConsoleClosed) as raised:
        Output(full.fileno(), stopping).write(b"x")
    assert (raised.value.unread, raised.value.strerror) == (False, "No space left on device")


def test_a_terminal_that_nobody_reads_does_not_keep_it_from_the_end(stopping):
    user, program = pty.openpty()
    output = Output(program, stopping)
    threading.Timer(0.3, stopping.set).start()
    begin = time.monotonic()
    output.write(b"x" * (1 << 20))
    output.close()
    os.close(user)
    os.close(program)
    assert time.monotonic() - begin < 10


def test_the_other_end_of_a_terminal_is_not_opened_anew(stopping):
    user, program = pty.openpty()
    output = Output(user, stopping)
    output.write(b"hello\n")
    output.close()
    assert os.read(program, 100) == b"hello\n"
    os.close(user)
    os.close(program)


def test_two_threads_write_at_once(stopping):
    user, program = pty.openpty()
    output = Output(program, stopping)
    failures = []

    def write(text):
        try:
            output.write(text * 3000)
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in (b"a", b"b")]
    for thread in threads:
        thread.start()
    seen = 0
    while seen < 6000:
        seen += len(os.read(user, 100))
    for thread in threads:
        thread.join()
    output.close()
    os.close(user)
    os.close(program)
    assert failures == []


def test_two_printers_of_one_output_are_kept_in_the_order_of_the_output(pipe, stopping):
    console, _ = closed_console()
    output = Output(pipe[1], stopping)
    printers = [console.printer(output) for _ in range(2)]

    def flood(write, letter):
        for _ in range(1000):
            write(letter)

    threads = [threading.Thread(target=flood, args=pair) for pair in zip(printers, (b"a", b"b"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.read(pipe[0], 4096) == console.text()


def test_a_closed_reader_ends_the_run_once(pipe, stopping):
    close(pipe, 0)
    console, ends = closed_console()
    write = console.printer(Output(pipe[1], stopping))
    write(b"one")
    write(b"two")
    assert ends == [True]


def test_text_goes_on_being_kept_when_the_reader_has_closed(pipe, stopping):
    close(pipe, 0)
    console, _ = closed_console()
    write = console.printer(Output(pipe[1], stopping))
    write(b"one")
    write(b"two")
    assert console.text() == b"onetwo"
