"""The outputs of devices among the text that is rebuilt from the exits."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tracer.read.sent import Piece, in_order

TIMES = st.lists(st.integers(0, 30), max_size=12).map(sorted)


@given(exits=TIMES, outputs=TIMES, cuts=st.sets(st.integers(0, 12)))
def test_all_bytes_are_there_by_their_times(exits, outputs, cuts):
    """An output comes after what was written at its own time."""
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(exits)), len(exits)]
    parts = [exits[a:b] for a, b in pairwise(bounds) if b > a]
    pieces = [Piece(b"e" * len(part), part, range(len(part))) for part in parts]
    sent = [Piece(b"out", (t,), (0,)) for t in outputs]
    merged = list(in_order(iter(pieces), iter(sent)))
    found = [(t, "e") for piece in merged if piece.data != b"out" for t in piece.times]
    assert found == [(t, "e") for t in exits]
    shown = [(t, piece.data == b"out") for piece in merged for t in piece.times]
    assert shown == sorted([(t, False) for t in exits] + [(t, True) for t in outputs])
    assert all(len(piece.data) == len(piece.times) for piece in merged if piece.data != b"out")
