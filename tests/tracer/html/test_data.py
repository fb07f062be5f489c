"""What the report says, against the exits that were recorded."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

import tracer
from tracer.html.data import exits_before, gather


class Batches:
    """A trace of nothing but times, in batches."""

    def __init__(self, pieces):
        import pyarrow as pa

        self.pieces = [pa.record_batch({"t_exit": pa.array(piece, pa.int64())}) for piece in pieces if piece]

    def batches(self, columns):
        return iter(self.pieces)


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)), st.integers(1, 7))
def test_exits_before_times(exits, times, size):
    exits, times = sorted(exits), sorted(times)
    pieces = [exits[at : at + size] for at in range(0, len(exits), size)]
    assert exits_before(Batches(pieces), times) == [bisect_left(exits, t) for t in times]


def test_groups(boot):
    found = gather(tracer.load(boot))
    assert found.rows == 69
    reasons, devices = found.tables["reason"].to_pylist(), found.tables["device"].to_pylist()
    assert {row["reason"]: row["samples"] for row in reasons} == {"io": 38, "mmio": 30, "hlt": 1}
    assert {row["device"]: row["samples"] for row in devices} == {"serial0": 37, "rtc0": 30, "-": 2}
    assert found.tables["address"].select(["addr", "samples", "bytes"]).to_pylist() == [
        {"addr": 0x3F8, "samples": 37, "bytes": 37},
        {"addr": 0xD0000000, "samples": 30, "bytes": 60},
        {"addr": 0xCF8, "samples": 1, "bytes": 4},
    ]
    assert found.tables["unclaimed"].select(["addr", "samples"]).to_pylist() == [{"addr": 0xCF8, "samples": 1}]
    assert found.rips.select(["rip", "samples"]).to_pylist() == [{"rip": 0xFFFFFFFF81000000, "samples": 37}]


def test_time_of_each_vcpu(boot):
    names = ("vcpu", "samples", "start_ns", "kvm_run_ns", "halted_ns", "handling_ns", "hlt_ns")
    assert [tuple(row[name] for name in names) for row in gather(tracer.load(boot)).tables["vcpu"].to_pylist()] == [
        (0, 38, 10_000_000, 84_996_300, 1_000_000, 3800, 0),
        (1, 31, 20_000_000, 29_997_000, None, 5_003_000, 5_000_000),
    ]


def test_densities_hold_every_exit(boot):
    pairs, vcpus = gather(tracer.load(boot)).densities
    assert sum(pairs.table["exits"].to_pylist()) == 69
    assert vcpus.keys == ("vcpu",)
    assert sum(vcpus.table["exits"].to_pylist()) == 69


def test_phases_and_console(boot):
    found = gather(tracer.load(boot))
    assert [line.text for line in found.console.lines] == ["first line", "second", "after a wait", "last"]
    rows = found.phases.to_pylist()
    assert sum(row["exits"] for row in rows) == 69
    assert rows[-1]["start"] + rows[-1]["length_ns"] == found.end


def test_a_trace_without_exits(record):
    found = gather(tracer.load(record([[]])))
    tables = [found.tables[name].num_rows for name in ("reason", "device", "address", "unclaimed", "vcpu")]
    assert (found.rows, tables, found.rips.num_rows, found.console.lines) == (0, [0] * 5, 0, ())
