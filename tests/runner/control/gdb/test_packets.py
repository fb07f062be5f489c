"""Packets, as they arrive from any client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.gdb.packets import LONGEST, Byte, Packet, PacketError, Reader, packet


def read(*pieces):
    reader = Reader()
    return [each for piece in pieces for each in reader.feed(piece)]


def test_a_packet_and_the_bytes_around_it():
    assert read(b"+$g#67\x03-") == [Byte.GOOD, Packet(b"g"), Byte.STOP, Byte.AGAIN]


def test_a_wrong_checksum():
    assert read(b"$g#68$g#67") == [Packet(None), Packet(b"g")]


@pytest.mark.parametrize("checksum", [b"zz", b"6 ", b"\0\0", b"-1"])
def test_a_checksum_that_is_no_number(checksum):
    assert read(b"$g#" + checksum) == [Packet(None)]


def test_digits_of_a_checksum_may_be_capitals():
    assert read(b"$O#4F") == [Packet(b"O")]


def test_escapes():
    assert packet(b"#$}*") == b"$}\x03}\x04}]}\n#" + b"%02x" % (sum(b"}\x03}\x04}]}\n") % 256)


def test_an_escape_without_its_byte_is_dropped():
    assert read(b"$a}#de") == [Packet(b"a")]


def test_bytes_between_packets_are_dropped():
    assert read(b"abc\0#00$g#67") == [Packet(b"g")]


@given(st.binary(max_size=200), st.data())
def test_what_is_sent_is_read_again_in_any_pieces(data, draw):
    sent = packet(data)
    cut = draw.draw(st.integers(0, len(sent)))
    assert read(sent[:cut], sent[cut:]) == [Packet(data)]


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_any_bytes_are_read(pieces):
    found = read(*pieces)
    assert len(found) <= sum(map(len, pieces))


def test_the_longest_packet():
    assert read(b"$" + b"a" * LONGEST + b"#00") == [Packet(b"a" * LONGEST)]


@pytest.mark.parametrize("tail", [b"", b"#00"])
def test_a_packet_that_is_too_long(tail):
    with pytest.raises(PacketError, match="longer than 16384 bytes"):
        read(b"$" + b"a" * LONGEST, b"a" + tail)
