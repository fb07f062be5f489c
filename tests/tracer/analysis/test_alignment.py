"""Aligning two traces: what is equal, what differs and where, with streams of every kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.comparefakes import exit_row, write_trace
from tests.fakes.examples import DEAR
from tracer.analysis import alignment
from tracer.analysis.alignment import align
from tracer.read.reader import load

COLUMNS = ("reason", "rip", "addr", "size", "count", "direction", "data", "payload", "device")
RESYNC = 1000


def rows_of(streams):
    """Rows of streams of numbers, one for each vCPU, taken in turn."""
    longest = max((len(stream) for stream in streams), default=0)
    return [
        exit_row(vcpu=vcpu, data=stream[index])
        for index in range(longest)
        for vcpu, stream in enumerate(streams)
        if index < len(stream)
    ]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """Aligns two lists of rows, in batches that end at different rows: some, as each costs more than its rows."""
    folder = tmp_path_factory.mktemp("aligned")

    def run(a, b, columns=COLUMNS, resync=RESYNC, **how):
        batches = 7 + len(a) // 8, 11 + len(b) // 8
        paths = [
            write_trace(folder / "a.arrow", a, batch=batches[0]),
            write_trace(folder / "b.arrow", b, batch=batches[1], **how),
        ]
        return align(load(paths[0]), load(paths[1]), columns, resync)

    return run


def patched(stream_a, stream_b, found):
    """A, with each block's rows replaced by B's: it must be B."""
    result, at = [], 0
    for block in found.blocks:
        result += stream_a[at : block.row_a]
        assert len(result) == block.row_b
        result += stream_b[block.row_b : block.row_b + block.rows_b]
        at = block.row_a + block.rows_a
    return result + stream_a[at:]


# A loop that polls, text, and rows that stand nowhere else.
NUMBERS = st.one_of(st.integers(0, 2), st.integers(0, 1 << 64 - 1))
STREAM = st.lists(NUMBERS, max_size=150)


@st.composite
def edited(draw):
    """A stream, and the same after some edits."""
    stream = draw(STREAM)
    other = list(stream)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(other)))
        other[at : at + draw(st.integers(0, 5))] = draw(st.lists(NUMBERS, max_size=5))
    return stream, other


@pytest.mark.long
@DEAR
@given(st.lists(st.one_of(edited(), st.tuples(STREAM, STREAM)), min_size=1, max_size=3))
def test_the_differences_turn_a_into_b(aligned, pairs):
    ours, theirs = zip(*pairs, strict=True)
    result = aligned(rows_of(ours), rows_of(theirs))
    for vcpu, (a, b) in enumerate(pairs):
        if not a and not b:
            assert vcpu not in result
            continue
        found = result[vcpu]
        assert patched(a, b, found) == b
        assert found.same == (a == b)
        assert found.equal + found.changed + found.deleted == len(a)
        assert found.equal + found.changed + found.inserted == len(b)
        if a != b:
            first = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            assert (found.blocks[0].row_a, found.blocks[0].row_b) == (first, first)


DIFFERENT = {
    "reason": "mmio",
    "rip": 0x1001,
    "addr": 0x3F9,
    "size": 2,
    "count": 2,
    "direction": "read",
    "data": 0x40,
    "payload": b"123456789",
    "device": "rtc0",
}


@pytest.mark.long
@DEAR
@given(st.integers(0, 299), st.sampled_from(COLUMNS))
def test_one_value_of_one_row(aligned, row, column):
    rows = [exit_row(data=number % 5) for number in range(300)]
    other = list(rows)
    other[row] = rows[row] | ({column: DIFFERENT[column]} if column != "data" else {"data": rows[row]["data"] ^ 8})
    found = aligned(rows, other)[0]
    assert [(block.row_a, block.rows_a, block.row_b, block.rows_b) for block in found.blocks] == [(row, 1, row, 1)]
    assert (found.columns, found.equal) == ({column: 1}, 299)
    assert aligned(rows, other, tuple(name for name in COLUMNS if name != column))[0].same


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 30, 400, 3000])
@pytest.mark.parametrize("kind", ["inserted", "deleted"])
def test_rows_on_one_side_only(aligned, kind, count):
    rows = [exit_row(data=number * number) for number in range(5000)]
    more = [*rows[:700], *(exit_row(data=number, addr=0x70) for number in range(count)), *rows[700:]]
    found = aligned(rows, more)[0] if kind == "inserted" else aligned(more, rows)[0]
    assert [(block.kind, block.rows_a + block.rows_b, block.row_a) for block in found.blocks] == [(kind, count, 700)]
    assert found.equal == 5000


def test_payloads_that_differ_after_eight_bytes(aligned):
    a = [exit_row(rip=number, data=1, count=12, payload=b"\x01" + bytes(11)) for number in range(100)]
    b = [*a[:50], a[50] | {"payload": b"\x01" + bytes(10) + b"!"}, exit_row(), *a[51:]]
    found = aligned(a, b)[0]
    assert found.blocks[0].row_a == 50
    assert (found.equal, found.changed, found.inserted) == (99, 1, 1)


def test_devices_are_compared_by_name(aligned):
    rows = [exit_row(device=("serial0", "rtc0", "-")[number % 3]) for number in range(20)]
    assert aligned(rows, rows, devices=("other0", "rtc0", "serial0"))[0].same


def test_a_vcpu_of_one_trace_only(aligned):
    result = aligned(rows_of([[1, 2, 3]]), rows_of([[1, 2, 3], [4, 5]]))
    assert result[0].same
    assert (result[1].inserted, result[1].blocks[0].kind) == (2, "inserted")


def test_empty_traces_are_equal(aligned):
    assert aligned([], []) == {}


def test_vcpus_whose_rows_lie_far_apart_wait_for_another_pass(aligned, monkeypatch):
    streams = [[vcpu * 1000 + number for number in range(300)] for vcpu in range(3)]
    in_turn = rows_of(streams)
    one_by_one = sorted(in_turn, key=lambda row: -row["vcpu"])
    one_by_one[5] = one_by_one[5] | {"data": 7}
    monkeypatch.setattr(alignment, "WAITING", 100)
    found = aligned(in_turn, one_by_one)
    assert [(vcpu, alignment.equal, alignment.changed) for vcpu, alignment in found.items()] == [
        (0, 300, 0),
        (1, 300, 0),
        (2, 299, 1),
    ]


def test_without_searches_the_first_difference_is_all_that_is_said(aligned):
    rows = rows_of([list(range(200))])
    found = aligned(rows, [*rows[:50], *rows[60:]], resync=0)[0]
    assert (found.blocks[0].row_a, found.blocks[0].row_b, found.unaligned) == (50, 50, (149, 139))


@pytest.mark.long
def test_streams_with_nothing_in_common_are_given_up(aligned, monkeypatch):
    monkeypatch.setattr(alignment, "SEARCHES", ((50, 10), (100, 10)))
    rows = rows_of([list(range(5000))])
    found = aligned(rows, rows_of([list(range(10_000, 15_000))]))[0]
    assert found.equal == 0
    assert found.unaligned == (5000 - alignment.LOST * 100,) * 2
    assert (found.a.row, found.b.row) == (5000, 5000)


def test_only_so_many_blocks_are_kept_but_all_are_counted(aligned, monkeypatch):
    monkeypatch.setattr(alignment, "KEPT", 3)
    rows = rows_of([[number * number for number in range(1000)]])
    other = [row | {"addr": 1} if number % 100 == 50 else row for number, row in enumerate(rows)]
    found = aligned(rows, [*other, *rows[:30]])[0]
    assert (len(found.blocks), found.kinds) == (3, {"changed": 10, "inserted": 1})
