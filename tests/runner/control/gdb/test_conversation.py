"""The conversation with clients that send anything and vanish at any moment."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.gdb.conversation import Client, Conversation, Ended
from runner.control.gdb.packets import packet
from runner.control.gdb.target import Stop
from runner.loop import Bell, Latch
from vmspec.host.threads import Worker


@pytest.fixture(scope="module")
def make(make_target):
    """Makes a conversation and the client's end of it; its target stops at once when it goes on."""
    made = []

    def conversation(attached=True):
        target = make_target()
        target.event, target.gone = Bell(), []
        target.go = target.gone.append
        target.stop = lambda: True
        target.taken = lambda: Stop(0)
        ours, theirs = socket.socketpair()
        stopping = Latch()
        made.extend((target.event, stopping, ours))
        return Conversation(Client(ours.fileno(), ours.fileno()), target, stopping, attached), theirs, target

    yield conversation
    for each in made:
        each.close()


def talk(make, data):
    """What a client gets that sends this and then leaves, and how the conversation ended."""
    conversation, theirs, _ = make()
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    ended = conversation.serve()
    got = b""
    theirs.setblocking(False)
    try:
        while part := theirs.recv(1 << 16):
            got += part
    except BlockingIOError:
        pass
    theirs.close()
    return got, ended


def test_packets_are_acknowledged(make):
    assert talk(make, b"$T1#85") == (b"+" + packet(b"OK"), Ended.LEFT)


def test_a_wrong_checksum_is_asked_for_again(make):
    assert talk(make, b"$T1#00$T1#85")[0] == b"-+" + packet(b"OK")


def test_an_answer_is_sent_again(make):
    assert talk(make, b"$T1#85-")[0] == b"+" + packet(b"OK") * 2


def test_a_packet_that_was_sent_twice_before_its_answer_is_answered_once(make):
    """gdb sends its first packet again if vmrun takes long to start."""
    assert talk(make, b"$T1#85$T1#85")[0] == b"+" + packet(b"OK")


def test_without_acknowledgements_a_wrong_checksum_ends_the_conversation(make):
    got, ended = talk(make, packet(b"QStartNoAckMode") + b"$T1#00$T1#85")
    assert (got, ended) == (b"+" + packet(b"OK"), Ended.LEFT)


def test_kill_and_detach(make):
    assert talk(make, packet(b"k")) == (b"+", Ended.KILLED)
    assert talk(make, packet(b"vKill;1")) == (b"+" + packet(b"OK"), Ended.KILLED)
    assert talk(make, packet(b"D")) == (b"+" + packet(b"OK"), Ended.LEFT)


def test_a_guest_that_runs_is_stopped_by_a_byte(make):
    got, _ = talk(make, packet(b"vCont;c") + packet(b"g") + b"\x03")
    assert got == b"+++"[:2] + packet(b"E.the guest runs: interrupt it first") + packet(b"T05thread:1;")


def test_the_byte_does_nothing_to_a_guest_that_stands(make):
    assert talk(make, b"\x03")[0] == b""


def test_the_end_of_the_run_ends_it_also_while_the_client_reads_nothing(make):
    conversation, theirs, _ = make()
    theirs.sendall(packet(b"QStartNoAckMode") + packet(b"m1000,1000") * 2000)
    ended = []
    thread = Worker("talk", lambda: ended.append(conversation.serve()))
    thread.start()
    assert not thread.wait(0.1)
    conversation._stopping.set()
    assert thread.wait(10)
    assert ended == [Ended.RUN]
    theirs.close()


PIECES = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=20).map(packet),
    st.sampled_from(
        [packet(word) for word in (b"g", b"vCont;c", b"vCont;s:1", b"QStartNoAckMode", b"Z0,1000,1", b"?")]
    ),
    st.sampled_from([b"+", b"-", b"\x03", b"$" + b"a" * 20_000]),
)


@given(st.lists(PIECES, max_size=12), st.integers(0, 300))
def test_whatever_a_client_sends_before_it_vanishes(make, pieces, cut):
    data = b"".join(pieces)
    _, ended = talk(make, data[: len(data) - cut] if cut < len(data) else data)
    assert ended in (Ended.LEFT, Ended.KILLED)


def test_a_client_that_closes_both_ways(make):
    conversation, theirs, _ = make()
    theirs.sendall(packet(b"g"))
    theirs.close()
    assert conversation.serve() is Ended.LEFT


def test_pipes_are_clients_too(make_target):
    (theirs, writes), (reads, sends) = os.pipe(), os.pipe()
    target, stopping = make_target(), Latch()
    target.event = Bell()
    os.write(sends, packet(b"T1"))
    os.close(sends)
    assert Conversation(Client(reads, writes), target, stopping, attached=False).serve() is Ended.LEFT
    assert os.read(theirs, 100) == b"+" + packet(b"OK")
    for fd in (theirs, writes, reads):
        os.close(fd)
    target.event.close()
    stopping.close()
