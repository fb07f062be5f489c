"""The client, and servers that are none."""

import socket
import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.control.client import Status, connect, running
from runner.control.errors import ControlError
from runner.control.names import Names

GREETING = b'{"protocol": 1, "vmrun": "0", "name": "guest", "pid": 1, "verbs": []}\n'


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """A server that sends each client some bytes, and closes its connection if it is told to."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    names = Names()
    listener = names.claim("guest")
    names.close()
    thread, ends = None, []

    def serve(data, close=True):
        nonlocal thread

        def work():
            while True:
                try:
                    end = listener.accept()
                    break
                except BlockingIOError:
                    if over.wait(0.001):
                        return
            end.setblocking(True)
            with end:
                end.sendall(data)
                if not close:
                    over.wait(60)

        thread = threading.Thread(target=work)
        thread.start()
        ends.append(thread)

    over = threading.Event()
    yield serve
    over.set()
    for each in ends:
        each.join(60)
    listener.close()


def test_nobody_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ControlError, match="no machine named 'guest' runs: vmrun list") as caught:
        connect("guest")
    assert caught.value.kind == "name"
    assert running() == ()


def test_the_socket_of_a_dead_machine_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    Names().close()
    for look in (running, lambda: connect("guest")):
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(tmp_path / "vmrun/guest.sock"))
        with suppress(ControlError):
            look()
        assert list((tmp_path / "vmrun").iterdir()) == []


def test_the_folder_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    for look in (running, lambda: connect("guest")):
        with pytest.raises(ControlError, match="none/vmrun: No such file"):
            look()


@pytest.mark.parametrize(
    ("data", "message", "kind"),
    [
        (b"", "closed the connection", "lost"),
        (b'{"protocol"', "closed the connection", "lost"),
        (b"hello\n", "a line that is no message", "protocol"),
        (b"[1]\n", "a line that is no message", "protocol"),
        (b'{"protocol": 2}\n', "guest speaks version 2 of the protocol, and this vmrun 1", "protocol"),
        (b'{"event": "ended"}\n', "a line that is no message", "protocol"),
        (GREETING + b'{"id": 99, "result": 1}\n', "what is no answer", "protocol"),
        (GREETING + b'{"id": 1, "result": {}}\n', "a status that is none", "protocol"),
    ],
)
def test_what_is_no_server(pretend, data, message, kind, descriptors):
    before = descriptors()
    pretend(data, close=kind == "lost")
    with pytest.raises(ControlError, match=message) as caught, connect("guest") as control:
        control.status()
    assert caught.value.kind == kind
    del caught
    assert descriptors() <= before + 1  # the other end may be open yet


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_whatever_a_server_sends_is_an_error_or_an_answer(pretend, data, greets):
    pretend((GREETING if greets else b"") + data)
    try:
        with connect("guest", 10) as control:
            assert isinstance(control.status(), Status)
    except ControlError:
        pass


def test_a_server_that_does_not_answer(pretend):
    pretend(b"", close=False)
    with pytest.raises(ControlError, match="does not answer"):
        connect("guest", 0.05)


def test_a_machine_that_does_not_answer_is_listed(pretend, monkeypatch):
    monkeypatch.setattr("runner.control.client.BRIEF", 0.05)
    pretend(b"", close=False)
    [found] = running()
    assert (found.name, found.state) == ("guest", "silent")
    assert found.pid > 0
