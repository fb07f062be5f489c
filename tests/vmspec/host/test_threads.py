import signal
import threading

import pytest

from vmspec.host.threads import Worker


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def interrupt_in(seconds):
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    return timer


def test_it_runs_until_its_work_is_done(release):
    worker = Worker("worker", release.wait)
    assert (worker.running, worker.wait()) == (False, True)  # never started
    worker.start()
    assert (worker.running, worker.wait(0.01)) == (True, False)
    release.set()
    assert (worker.wait(20), worker.running) == (True, False)


def test_work_that_fails_is_done(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    worker = Worker("worker", lambda: 1 / 0)
    worker.start()
    assert worker.wait(20)


def test_an_interrupted_wait_does_not_end_it(release):
    worker = Worker("worker", release.wait)
    worker.start()
    interrupt_in(0.1)
    with pytest.raises(KeyboardInterrupt):
        worker.wait(20)
    assert (worker.running, worker.wait(0.01)) == (True, False)


def test_outlasting_it_raises_the_interrupt_at_its_end(release):
    worker = Worker("worker", release.wait)
    worker.start()
    interrupt_in(0.1)
    threading.Timer(0.4, release.set).start()
    with pytest.raises(KeyboardInterrupt):
        worker.outlast()
    assert not worker.running
