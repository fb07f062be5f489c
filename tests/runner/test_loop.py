import os
import threading
import time

import pytest

from runner.loop import Latch, Loop


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_can_be_read_is_told(loop, pipe):
    seen = []
    loop.watch(pipe[0], lambda: seen.append(os.read(pipe[0], 10)))
    os.write(pipe[1], b"x")
    loop.turn()
    assert seen == [b"x"]


def test_what_is_not_watched_any_more_is_not_told(loop, pipe):
    loop.watch(pipe[0], pytest.fail)
    loop.unwatch(pipe[0])
    loop.unwatch(pipe[0])
    os.write(pipe[1], b"x")
    loop.after(0, lambda: None)
    loop.turn()


def test_what_the_one_before_took_back_is_not_told(loop, pipe):
    other = os.pipe()
    told = []

    def ready(which):
        told.append(which)
        for fd in (pipe[0], other[0]):
            loop.unwatch(fd)

    for which, ends in enumerate((pipe, other)):
        loop.watch(ends[0], lambda which=which: ready(which))
        os.write(ends[1], b"x")
    loop.turn()
    assert len(told) == 1
    for end in other:
        os.close(end)


def test_a_file_cannot_be_watched(loop, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        for _ in range(2):
            with pytest.raises(PermissionError):
                loop.watch(file.fileno(), pytest.fail)


def test_a_time_that_has_come_is_told_once(loop):
    seen = []
    loop.after(0.01, lambda: seen.append(1))
    while not seen:
        loop.turn()
    loop.wake()
    loop.turn()
    assert seen == [1]


def test_a_later_time_replaces_an_earlier_one(loop):
    begin = time.monotonic()
    seen = []

    def due():
        seen.append(time.monotonic() - begin)

    loop.after(0, due)
    loop.after(0.2, due)
    while not seen:
        loop.turn()
    assert seen[0] >= 0.2


def test_a_time_that_was_taken_back_does_not_come(loop):
    loop.after(0, pytest.fail)
    loop.after(None, pytest.fail)
    loop.turn()


@pytest.mark.parametrize("never", [float("inf"), 1e12])
def test_a_time_that_never_comes(loop, never):
    loop.after(never, pytest.fail)
    loop.turn()  # to set a timer wakes it
    threading.Timer(0.05, loop.wake).start()
    loop.turn()


def test_another_thread_wakes_it(loop):
    threading.Timer(0.05, loop.wake).start()
    loop.turn()


def test_waking_a_loop_that_is_closed_writes_to_nobodys_descriptor(tmp_path):
    loop, latch = Loop(), Latch()
    loop.close()
    latch.close()
    files = [(tmp_path / str(number)).open("wb") for number in range(3)]  # which get the numbers that are free
    loop.wake()
    latch.set()
    assert [os.fstat(file.fileno()).st_size for file in files] == [0, 0, 0]
    for file in files:
        file.close()


def test_a_latch_is_readable_once_it_is_set(loop):
    latch, seen = Latch(), []
    loop.watch(latch.fileno(), lambda: seen.append(latch.is_set()))
    assert not latch.is_set()
    latch.set()
    latch.set()
    for _ in range(2):
        loop.turn()
    assert seen == [True, True]
    latch.close()


def test_each_wake_is_told_and_a_time_set_by_the_loop_itself_is_none(loop):
    seen = []

    def woken():
        seen.append(1)
        loop.after(0.05, lambda: seen.append(2))

    loop.each_wake(woken)
    loop.wake()
    while 2 not in seen:
        loop.turn()
    assert seen == [1, 2]
