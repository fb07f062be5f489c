"""Finds where two streams of rows meet again after a difference: the search of :mod:`tracer.analysis.alignment`."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

# 2**64 divided by the golden ratio, made odd (Knuth, The Art of Computer Programming, 6.4: multiplicative hashing).
MULTIPLIER = 0x9E3779B97F4A7C15
WIDTH = 8  # bytes of a hash
END = b"\xff" * WIDTH  # marks "no row", after the last one
REFINED = 250_000  # rows of A times rows of B in a block that is searched


def hashes(rows: Any) -> bytes:
    """One 64-bit hash for each row of a record batch. Of a payload only the length counts. A collision costs only a
    second look, because rows that seem equal are compared afterwards."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = None
    for column in rows.columns:
        values = pc.binary_length(column) if pa.types.is_binary(column.type) else column
        values = values.cast(pa.uint64())
        mixed = values if total is None else pc.bit_wise_xor(total, values)
        total = pc.multiply(mixed, pa.scalar(MULTIPLIER, pa.uint64()))  # wraps around
        total = pc.bit_wise_xor(total, pc.shift_right(total, pa.scalar(29, pa.uint64())))
    if total is None:
        return bytes(WIDTH * rows.num_rows)
    start = total.offset * WIDTH
    return memoryview(total.buffers()[1])[start : start + len(total) * WIDTH].tobytes()


def meeting(a: bytes, b: bytes, run: int) -> tuple[int, int] | None:
    """The nearest offsets, in rows, from which ``run`` rows of A and of B are equal: of all such pairs except (0, 0),
    one with the smallest sum. None if the hashes have no such run."""
    size = run * WIDTH
    first: dict[bytes, int] = {}
    for at in range(len(b) // WIDTH - run, -1, -1):
        first[b[at * WIDTH : at * WIDTH + size]] = at
    best: tuple[int, int] | None = None
    for at in range(len(a) // WIDTH - run + 1):
        if best is not None and at >= sum(best):
            break
        other = first.get(a[at * WIDTH : at * WIDTH + size])
        if other is not None and at + other > 0 and (best is None or at + other < sum(best)):
            best = at, other
    return best


def pieces(a: bytes, b: bytes) -> Iterator[tuple[bool, int, int, int, int]]:
    """A block of A and one of B in pieces: (seem equal, start and end in A, start and end in B), in order."""
    rows = len(a) // WIDTH, len(b) // WIDTH
    if not all(rows) or rows[0] * rows[1] > REFINED:
        yield False, 0, rows[0], 0, rows[1]
        return
    matcher = SequenceMatcher(None, memoryview(a).cast("Q").tolist(), memoryview(b).cast("Q").tolist(), autojunk=False)
    for tag, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        yield tag == "equal", start_a, end_a, start_b, end_b
