"""What clients do to a server: all that a machine's own clients may, and more."""

import contextlib
import json
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.control.client import _connected, connect
from runner.control.errors import ControlError
from runner.control.protocol import LONGEST
from runner.control.server import MOST
from tests.fakes.processes import eventually


def raw():
    """A client that need not keep to the protocol."""
    end = _connected("guest", 30)
    end.settimeout(30)
    return end


def lines(end, number):
    """So many messages from the server."""
    file = end.makefile("rb")
    return [json.loads(file.readline()) for _ in range(number)]


def works(served):
    """The server answers a client that keeps to the protocol."""
    with connect("guest") as control:
        assert control.request("echo", {"a": 1}) == {"a": 1}


def test_a_client_is_greeted_and_answered(served):
    with raw() as end:
        end.sendall(b'{"verb": "echo", "id": 7, "arguments": {"x": [1]}}\n{"verb": "fail"}\n')
        greeting, *answers = lines(end, 3)
    assert (greeting["protocol"], greeting["name"]) == (1, "guest")
    assert answers == [
        {"id": 7, "result": {"x": [1]}},
        {"id": None, "error": {"kind": "state", "message": "it cannot"}},
    ]


def test_a_line_may_come_in_pieces_and_be_empty(served):
    with raw() as end:
        for byte in b'\n \n{"verb": "echo"}\n':
            end.sendall(bytes([byte]))
        assert lines(end, 2)[1] == {"id": None, "result": {}}


def test_a_malformed_line_does_not_end_the_connection(served):
    with raw() as end:
        end.sendall(b'nonsense\n{"verb": "nothing", "id": 1}\n{"verb": "echo", "id": 2}\n')
        _, first, second, third = lines(end, 4)
    assert (first["error"]["kind"], second["error"]["kind"]) == ("protocol", "verb")
    assert third == {"id": 2, "result": {}}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200) | st.sampled_from([b"\n", b"{", b'{"verb": "echo"}\n', b'{"verb": "wait"}'])))
def test_whatever_a_client_sends_the_next_one_is_served(served, pieces):
    with raw() as end, contextlib.suppress(OSError):
        for piece in pieces:
            end.sendall(piece)
    works(served)


def test_a_line_that_does_not_end_ends_the_connection(served):
    with raw() as end:
        with contextlib.suppress(OSError):
            end.sendall(b"x" * 3 * LONGEST)
        with contextlib.suppress(ConnectionError):
            messages = [json.loads(line) for line in end.makefile("rb")]
            assert f"longer than {LONGEST} bytes" in messages[-1]["error"]["message"]
    works(served)


def test_a_client_that_reads_nothing_is_not_read_either(served):
    request = b'{"verb": "echo", "arguments": {"x": "' + b"x" * 60_000 + b'"}}\n'
    with raw() as end:
        end.setblocking(False)
        sent, held = 0, []
        while sent < 100 << 20 and not held:  # a server that is only slow has nothing to hold
            with contextlib.suppress(BlockingIOError):
                sent += end.send(request)
            time.sleep(0.001)
            held = [client for client in served.server._clients if client._output]
        assert sent < 16 << 20
        works(served)
        [client] = held
        assert len(client._output) + len(client._input) < 4 * LONGEST


def test_the_loop_does_other_things_between_two_requests(served):
    with raw() as end:
        lines(end, 1)
        before = served.turns
        end.sendall(b'{"verb": "echo"}\n' * 20)
        lines(end, 20)
        assert served.verbs.performed == 20
        # Those between any two of them; the last ones may be counted after their answers.
        eventually(lambda: served.turns - before >= 19, "the loop did not turn between them")


def test_a_thousand_clients_come_and_go(served):
    for _ in range(1000):
        raw().close()
    works(served)
    eventually(lambda: len(served.server._clients) <= 1, "connections are left")


def test_the_connection_that_was_silent_longest_makes_room(served):
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(raw()) for _ in range(MOST)]
        for end in ends:
            lines(end, 1)
        ends[0].sendall(b'{"verb": "echo"}\n')
        lines(ends[0], 1)
        works(served)
        assert ends[1].recv(1) == b""
        ends[0].sendall(b'{"verb": "echo"}\n')
        assert lines(ends[0], 1) == [{"id": None, "result": {}}]


def test_a_verb_that_waits_holds_up_no_other_client(served):
    with raw() as end:
        end.sendall(b'{"verb": "wait", "id": 1}\n{"verb": "echo", "id": 2}\n')
        assert served.verbs.begun.wait(30)
        works(served)
        served.verbs.go_on.set()
        assert [message["id"] for message in lines(end, 3)[1:]] == [1, 2]


def test_a_client_may_leave_before_its_answer(served):
    with raw() as end:
        end.sendall(b'{"verb": "wait"}\n')
        assert served.verbs.begun.wait(30)
    served.verbs.go_on.set()
    works(served)


def test_an_idle_client_costs_no_turns(served):
    with raw() as end:
        lines(end, 1)
        time.sleep(0.05)
        before = served.turns
        time.sleep(0.3)
        assert served.turns == before


def test_the_end_is_an_event(served):
    with connect("guest") as control:
        served.end()
        ended = control.wait(30)
        assert (ended.kind, ended.status) == ("halt", 0)
        with pytest.raises(ControlError, match="closed the connection"):
            control.request("echo")


def test_a_request_under_way_at_the_end_is_answered(served):
    with raw() as end:
        end.sendall(b'{"verb": "wait", "id": 1}\n')
        assert served.verbs.begun.wait(30)
        served.end()
        assert lines(end, 3)[1:] == [
            {"id": 1, "result": {}},
            {"event": "ended", "kind": "halt", "status": 0, "detail": ""},
        ]


def test_no_request_is_begun_once_the_run_has_ended(served):
    """Also if it was there before: it may use what is no more."""
    with raw() as end:
        end.sendall(b'{"verb": "wait", "id": 1}\n{"verb": "echo", "id": 2}\n')
        assert served.verbs.begun.wait(30)
        served.end()
        messages = list(map(json.loads, end.makefile("rb")))
    assert [message.get("id", message.get("event")) for message in messages[1:]] == [1, "ended"]


@contextlib.contextmanager
def owed(served):
    """A client that reads late, while the server has more to send than there is room for, and the text of that."""
    text = "x" * 60_000
    with raw() as end:
        lines(end, 1)
        [client] = served.server._clients
        client._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        end.sendall(json.dumps({"verb": "echo", "arguments": {"x": text}}).encode() + b"\n")
        eventually(lambda: client._output, "an answer waits for room")
        yield end, text


def test_a_long_answer_at_the_end_arrives_whole(served):
    with owed(served) as (end, text):
        ending = threading.Thread(target=served.end)
        ending.start()
        eventually(lambda: not served._thread.is_alive(), "the loop turns no more")
        answer, event = map(json.loads, end.makefile("rb"))
        ending.join()
    assert (answer["result"], event["event"]) == ({"x": text}, "ended")


def test_a_client_that_reads_nothing_does_not_hold_up_the_end(served):
    with owed(served):
        served.end()


def test_too_many_open_files_pass(served, monkeypatch):
    accept = type(served.server._listener).accept
    failing = [True] * 3

    def fails(listener):
        if failing:
            failing.pop()
            raise OSError(24, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(type(served.server._listener), "accept", fails)
    works(served)
    assert failing == []


def test_a_client_that_reads_late_gets_all(served):
    text = "x" * 60_000
    with raw() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.sendall(json.dumps({"verb": "echo", "arguments": {"x": text}}).encode() + b"\n")
        time.sleep(0.05)
        assert lines(end, 2)[1] == {"id": None, "result": {"x": text}}
