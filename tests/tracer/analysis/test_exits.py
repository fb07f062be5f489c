"""Grouping and quantiles: the streaming result beside a plain computation."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tests.fakes.tracefakes import DEVICES, SAID, ZEROS, exit_, record_all
from tracer.analysis import exits, scan
from tracer.format.schema import schema_names, schema_of
from tracer.record.buffers import Buffers
from vmspec.trace.record import EXITS

SCHEMA = schema_of(EXITS, SAID)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["io", "mmio", "hlt"]),
        st.sampled_from(["-", *DEVICES]),
        st.integers(0, 3),  # addr
        st.sampled_from([0, 1, 4]),  # size
        st.integers(0, 2),  # vcpu
        st.one_of(st.integers(0, 5), st.integers(0, 1 << 45)),  # handling time
        st.integers(0, 3),  # count
    ),
    max_size=200,
)


def in_batches(rows, cuts):
    """A trace in memory of such rows, in batches that end at the cuts."""
    names = schema_names(SCHEMA)
    empty = Buffers(EXITS, rows=0, payload_capacity=0).batch(0, SCHEMA, names)
    plain = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in SCHEMA]
    values = ZEROS | {"t_exit": 1000}
    codes = {key: {name: code for code, name in enumerate(column.to_pylist())} for key, column in names.items()}
    table = {name: [] for name in SCHEMA.names}
    for reason, device, addr, size, vcpu, handling, count in rows:
        row = values | {"reason": reason, "device": device, "addr": addr, "size": size, "vcpu": vcpu, "count": count}
        for name, value in (row | {"t_entry": 1000 + handling}).items():
            table[name].append(codes[name][value] if name in codes else value)
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(table[f.name], f.type.index_type), names[f.name])
        if pa.types.is_dictionary(f.type)
        else pa.array(table[f.name], kind)
        for f, kind in zip(SCHEMA, plain, strict=True)
    ]
    whole = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA) if rows else empty
    ends = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
    batches = [whole.slice(start, stop - start) for start, stop in pairwise(ends)]

    def some(columns, which):
        return (batch.select(columns) for batch in batches[which])

    return SimpleNamespace(schema=SCHEMA, kind="file", batches=some, path=Path(__file__))


@pytest.mark.long
@given(ROWS, st.lists(st.integers(0, 200), max_size=6), st.sampled_from([1, 7, 1 << 18]), st.sampled_from([0, 1 << 40]))
def test_any_split_gives_what_a_plain_computation_gives(rows, cuts, chunk, small):
    keys = ("reason", "device", "addr", "size", "vcpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "ROWS", chunk)
        patch.setattr(scan, "PENDING", 3)
        patch.setattr(scan, "SMALL", small)  # two threads, or one
        found = exits.by(in_batches(rows, cuts), *keys).to_pylist()
    groups = defaultdict(list)
    for *key, handling, count in rows:
        groups[tuple(key)].append((handling, count))
    assert [row["exits"] for row in found] == sorted((len(group) for group in groups.values()), reverse=True)
    total = sum(handling for group in groups.values() for handling, _ in group)
    for row in found:
        group = groups.pop(tuple(row[key] for key in keys))
        times = sorted(handling for handling, _ in group)
        assert (row["exits"], row["min_ns"], row["max_ns"], row["handling_ns"], row["bytes"]) == (
            len(times), times[0], times[-1], sum(times), sum(count for _, count in group) * row["size"],
        )  # fmt: skip
        assert row["mean_ns"] == pytest.approx(sum(times) / len(times))
        assert row["exits_share"] == pytest.approx(len(times) / len(rows))
        assert row["handling_share"] == pytest.approx(sum(times) / (total or 1))
        for name, (top, bottom) in (("median_ns", exits.MEDIAN), ("p99_ns", exits.P99)):
            true = times[-(-len(times) * top // bottom) - 1]
            assert abs(row[name] - true) <= 0.004 * true
    assert groups == {}


FEW = [
    ("io", "serial0", 0x3F8, 1, 0, 100, 3),
    ("io", "serial0", 0x3F8, 1, 0, 300, 1),
    ("io", "serial0", 0x3F9, 4, 1, 300, 2),
    ("hlt", "-", 0, 2, 1, 1700, 1),
]


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3]])
def test_every_column_of_a_group(cuts):
    assert exits.by(in_batches(FEW, cuts), "reason", "device").to_pylist() == [
        {
            "reason": "io", "device": "serial0", "exits": 3, "exits_share": 0.75, "handling_share": 700 / 2400,
            "min_ns": 100, "max_ns": 300, "mean_ns": 700 / 3, "median_ns": 300, "p99_ns": 300, "handling_ns": 700,
            "bytes": 12,
        },
        {
            "reason": "hlt", "device": "-", "exits": 1, "exits_share": 0.25, "handling_share": 1700 / 2400,
            "min_ns": 1700, "max_ns": 1700, "mean_ns": 1700.0, "median_ns": 1700, "p99_ns": 1700, "handling_ns": 1700,
            "bytes": 2,
        },
    ]  # fmt: skip


def test_all_exits_are_one_group_without_keys():
    [whole] = exits.by(in_batches(FEW, [2])).to_pylist()
    assert whole == {
        "exits": 4, "exits_share": 1.0, "handling_share": 1.0, "min_ns": 100, "max_ns": 1700, "mean_ns": 600.0,
        "median_ns": 300, "p99_ns": 1700, "handling_ns": 2400, "bytes": 14,
    }  # fmt: skip


def test_exits_that_took_no_time_have_no_share_of_it():
    [whole] = exits.by(in_batches([("io", "-", 0, 1, 0, 0, 1)], []), "vcpu").to_pylist()
    assert (whole["vcpu"], whole["handling_share"], whole["mean_ns"], whole["exits_share"]) == (0, 0.0, 0.0, 1.0)


def test_a_part_of_a_tally_has_its_share_of_all():
    tally = exits.Tally.of(scan.scan(in_batches(FEW, []), exits.grouping(("reason",)))[0])
    [part] = tally.where(pa.compute.equal(tally.groups["reason"], "hlt")).table(["reason"]).to_pylist()
    assert (part["reason"], part["exits"], part["exits_share"], part["handling_share"]) == ("hlt", 1, 0.25, 1700 / 2400)


def test_a_key_of_ones_own_divides_the_groups():
    tally = exits.Tally.of(scan.scan(in_batches(FEW, []), exits.grouping(("vcpu",)))[0])
    names = pa.array([f"cpu {vcpu}" for vcpu in tally.groups["vcpu"].to_pylist()])
    found = tally.with_key("symbol", names).table(["symbol"], "handling_ns").to_pylist()
    assert [(row["symbol"], row["exits"], row["handling_ns"]) for row in found] == [
        ("cpu 1", 2, 2000),
        ("cpu 0", 2, 400),
    ]


@pytest.mark.parametrize(
    ("histogram", "fraction", "value"),
    [
        ([(1, 7, 7)], (1, 2), 7),
        ([(1, 7, 9)], (0, 1), 7),
        ([(2, 10, 20), (2, 30, 40)], (1, 4), 10),
        ([(2, 10, 20), (2, 30, 40)], (1, 2), 20),
        ([(2, 10, 20), (2, 30, 40)], (51, 100), 30),
        ([(2, 10, 20), (2, 30, 40)], (99, 100), 40),
        ([(3, 10, 21)], (1, 2), 15),
        ([(1, 5, 5), (3, 10, 21)], (3, 4), 15),
        ([(99, 1, 1), (1, 50, 50)], (99, 100), 1),
        ([(99, 1, 1), (2, 50, 60)], (99, 100), 50),
    ],
)
def test_a_quantile_is_the_value_at_its_rank(histogram, fraction, value):
    """The rank is that fraction of all exits, rounded up; within a bucket only the two ends are known."""
    assert exits.quantile(histogram, fraction) == value


def test_a_quantile_of_nothing():
    with pytest.raises(ValueError, match=r"^a quantile of nothing$"):
        exits.quantile([], exits.MEDIAN)


def test_times_within_a_128th_of_a_power_of_two_share_a_bucket():
    """Of 512 to 1023, that is 4 ns: the second of 1000 to 1003 is told as their middle, the one of 1004 exactly."""
    for times, median in (((1000, 1001, 1002, 1003), 1001), ((1000, 1002, 1003), 1001), ((999, 1000, 1004), 1000)):
        [row] = exits.by(in_batches([("io", "-", 0, 1, 0, time, 1) for time in times], []), "reason").to_pylist()
        assert row["median_ns"] == median


def test_a_narrow_terminal_leaves_out_and_keeps_what_the_schema_says():
    found = exits.schema(["place", "rip", "reason"])
    assert [field.name for field in found if b"detail" in field.metadata] == ["rip", "exits_share", "min_ns", "bytes"]
    assert [field.name for field in found if b"keep" in field.metadata] == ["exits", "handling_share", "handling_ns"]
    assert {field.metadata.get(b"detail", field.metadata.get(b"keep", b"1")) for field in found} == {b"1"}
    assert b"detail" not in exits.schema(["rip"]).field("rip").metadata
    assert found.field("mean_ns").metadata == {b"unit": b"ns", b"doc": b"mean handling time"}


def test_quantiles_of_few_exits_are_exact():
    rows = [("io", "-", 0, 1, 0, time, 1) for time in (5, 1000, 1_000_001)]
    [row] = exits.by(in_batches(rows, []), "reason").to_pylist()
    assert (row["median_ns"], row["p99_ns"]) == (1000, 1_000_001)


def test_the_order_is_by_what_was_asked_for_then_by_the_keys():
    rows = [(reason, "-", 0, 1, 0, time, 1) for reason, time in (("hlt", 9), ("io", 1), ("io", 2), ("mmio", 9))]
    trace = in_batches(rows, [])
    assert exits.by(trace, "reason")["reason"].to_pylist() == ["io", "hlt", "mmio"]
    assert exits.by(trace, "reason", sort="max_ns")["reason"].to_pylist() == ["hlt", "mmio", "io"]


def test_fewer_keys_from_the_same_tally(tmp_path):
    records = [exit_(1000 * at, 1000 * at + 100, addr=0x3F8 + at % 2) for at in range(10)]
    record_all(tmp_path / "boot.arrow", [records])
    tally = exits.Tally.of(scan.scan(tracer.load(tmp_path / "boot.arrow"), exits.grouping(("addr", "device")))[0])
    assert [(row["addr"], row["exits"]) for row in tally.table(["addr"]).to_pylist()] == [(0x3F8, 5), (0x3F9, 5)]
    [whole] = tally.table([]).to_pylist()
    assert (whole["exits"], whole["bytes"], whole["handling_ns"]) == (10, 10, 1000)


def test_more_addresses_than_can_be_told_apart_are_folded(monkeypatch):
    monkeypatch.setattr(scan, "GROUPS", 10)
    often = [("mmio", "-", 7, 4, 0, 100, 1)] * 50
    rows = [("mmio", "-", 1000 + at, 4, 0, 100, 1) for at in range(100)]
    monkeypatch.setattr(scan, "ROWS", 30)
    found = exits.by(in_batches(often + rows, range(0, 150, 10)), "addr").to_pylist()
    assert len(found) <= 10
    assert {row["addr"]: row["exits"] for row in found}[7] == 50
    assert any(row["addr"] is None for row in found)
    assert (sum(row["exits"] for row in found), sum(row["bytes"] for row in found)) == (150, 600)


def test_the_schema_documents_itself():
    for field in exits.schema(exits.KEYS):
        assert field.metadata[b"doc"]
        assert field.metadata[b"unit"] in {b"", b"ns", b"share", b"bytes", b"address"}


def test_a_trace_without_rows_has_no_groups(tmp_path):
    record_all(Path(tmp_path) / "boot.arrow", [[]])
    assert exits.by(tracer.load(tmp_path / "boot.arrow"), "device").num_rows == 0
