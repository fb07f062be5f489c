"""The contents of the report, against the recorded exits."""

import tracer
from tracer.analysis.timeline import timeline
from tracer.html.data import gather


def test_groups(boot):
    found = gather(tracer.load(boot))
    assert found.rows == 69
    reasons, devices = found.tables["reason"].to_pylist(), found.tables["device"].to_pylist()
    assert {row["reason"]: row["exits"] for row in reasons} == {"io": 38, "mmio": 30, "hlt": 1}
    assert {row["device"]: row["exits"] for row in devices} == {"serial0": 37, "rtc0": 30, "-": 2}
    assert found.tables["address"].select(["addr", "exits", "bytes"]).to_pylist() == [
        {"addr": 0x3F8, "exits": 37, "bytes": 37},
        {"addr": 0xD0000000, "exits": 30, "bytes": 60},
        {"addr": 0xCF8, "exits": 1, "bytes": 4},
    ]
    assert found.tables["unclaimed"].select(["addr", "exits"]).to_pylist() == [{"addr": 0xCF8, "exits": 1}]
    assert found.rips.select(["rip", "exits"]).to_pylist() == [{"rip": 0xFFFFFFFF81000000, "exits": 37}]


def test_time_of_each_vcpu(boot):
    names = ("vcpu", "exits", "start_ns", "kvm_run_ns", "halted_ns", "handling_ns", "hlt_ns")
    assert [tuple(row[name] for name in names) for row in gather(tracer.load(boot)).tables["vcpu"].to_pylist()] == [
        (0, 38, 0, 94_996_300, 1_000_000, 3800, 0),
        (1, 31, 0, 89_997_100, None, 5_003_000, 5_000_000),
    ]


def test_densities_hold_every_exit(boot):
    pairs, vcpus = gather(tracer.load(boot)).densities
    assert sum(pairs.table["exits"].to_pylist()) == 69
    assert vcpus.keys == ("vcpu",)
    assert sum(vcpus.table["exits"].to_pylist()) == 69


def test_console_phases_and_waits_are_the_timeline_s(boot):
    found, cut = gather(tracer.load(boot)), timeline(tracer.load(boot))
    assert [line.text for line in found.console.lines] == ["first line", "second", "after a wait", "last"]
    assert [(line.t, line.gap) for line in found.console.lines] == [
        (row["t_ns"], row["gap_ns"]) for row in cut.lines.to_pylist()[:-1]
    ]
    assert found.phases == cut.phases
    assert [(wait.start, wait.length, wait.line) for wait in found.waits] == [
        (12_000_000, 48_000_000, "after a wait"),
        (60_000_000, 30_000_000, "last"),
        (0, 10_000_000, "first line"),
        (90_000_000, 5_000_100, None),
        (10_000_000, 2_000_000, "second"),
    ]
    assert sum(wait.exits for wait in found.waits) == 69


def test_a_trace_without_exits(record):
    found = gather(tracer.load(record([[]])))
    tables = [found.tables[name].num_rows for name in ("reason", "device", "address", "unclaimed")]
    assert (found.rows, tables, found.rips.num_rows, found.console.lines) == (0, [0] * 4, 0, ())
