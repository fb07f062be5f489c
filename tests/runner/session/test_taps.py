"""Who attaches to a port gets its newest text, and then all that it prints."""

from hypothesis import given
from hypothesis import strategies as st

from runner.session.taps import TAIL, Tap


@given(before=st.lists(st.binary(max_size=TAIL)), after=st.lists(st.binary(max_size=20)))
def test_a_reader_gets_the_end_of_what_was_and_all_that_comes(before, after):
    tap, printed, read = Tap(), [], []
    write = tap.printer(printed.append)
    for data in before:
        write(data)
    tap.attach(read.append)
    for data in after:
        write(data)
    tap.detach(read.append)
    write(b"nobody's")
    assert b"".join(printed) == b"".join([*before, *after, b"nobody's"])
    assert b"".join(read) == b"".join(before)[-TAIL:] + b"".join(after)


def test_readers_come_first_because_a_writer_may_wait():
    tap, order = Tap(), []
    write = tap.printer(lambda data: order.append("writer"))
    tap.attach(lambda data: order.append("reader"))
    write(b"x")
    assert order == ["reader", "writer"]
