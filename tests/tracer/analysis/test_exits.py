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

    return SimpleNamespace(schema=SCHEMA, kind="file", batches=some)


@pytest.mark.long
@given(ROWS, st.lists(st.integers(0, 200), max_size=6), st.sampled_from([1, 7, 1 << 18]))
def test_any_split_gives_what_a_plain_computation_gives(rows, cuts, chunk):
    keys = ("reason", "device", "addr", "size", "vcpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "ROWS", chunk)
        patch.setattr(scan, "PENDING", 3)
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
