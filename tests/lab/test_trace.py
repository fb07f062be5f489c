"""The trace compared with the kernel's and the console's view of the same run."""

from collections import Counter

import duckdb
import pandas as pd
import polars as pl
import pytest

from tests.lab.labruns import SAMPLE
from tracer.analysis.summary import summarise

pytestmark = [pytest.mark.lab, pytest.mark.stay("linux")]

RUNS = ["flood", *(boot.name for boot in SAMPLE)]
FLOOD_OUT = b"." * 20_000 + bytes((ord(".") + n) & 0xFF for n in range(4000)) + b"\xff" * 4000


@pytest.fixture(params=RUNS)
def run(request, lab):
    return lab.run("sample", request.param)


@pytest.fixture
def flood(lab):
    return lab.run("sample", "flood")


def rows_by_vcpu(trace):
    """Reasons of the rows, counted for each vCPU."""
    columns = trace.table.select(["vcpu", "reason"]).to_pydict()
    counts = {vcpu: Counter() for vcpu in range(len(trace.summary["rows"]))}
    for vcpu, reason in zip(columns["vcpu"], columns["reason"], strict=True):
        counts[vcpu][reason] += 1
    return list(counts.values())


def as_set(counters):
    return {frozenset(counter.items()) for counter in counters}


def test_rows_are_the_kernels_count_of_returns_to_user_space(run):
    # Which thread is which vCPU the kernel does not say; each vCPU's counts are like no other's.
    assert as_set(rows_by_vcpu(run.trace)) == as_set(run.exits.values())


def test_interrupted_returns_are_the_kernels_count_of_errors(run):
    counted = sorted(run.failed[thread] for thread in run.exits)
    assert sorted(run.trace.summary["interrupted"]) == counted


def test_nothing_was_dropped(run):
    summary = run.trace.summary
    assert (run.trace.complete, sum(summary["dropped"]), sum(summary["rows"])) == (True, 0, run.trace.table.num_rows)


def test_kvm_counted_no_less_exits_than_there_are_rows(run):
    # KVM counts every exit of the guest, also those that it handles itself, and a string instruction once.
    rows, kvm = rows_by_vcpu(run.trace), run.trace.summary["stats"]["end"]
    table = run.trace.table.to_pandas()
    string_items = table[table["addr"].isin([0xE9, 0x5678]) & (table["rip"] > 0x1010)].groupby("vcpu").size()
    for vcpu, (reasons, counters) in enumerate(zip(rows, kvm, strict=True)):
        single = reasons["io"] - string_items.get(vcpu, 0)
        assert (counters["io_exits"] >= single, counters["mmio_exits"] >= reasons["mmio"]) == (True, True)


def test_the_console_is_in_the_trace_byte_for_byte(run):
    assert run.trace.console() == run.console


def test_three_readers_see_the_same(run):
    trace, file = run.trace, str(run.path)
    devices = Counter(trace.table["device"].to_pylist())
    rows = trace.table  # noqa: F841 (DuckDB finds it by its name)
    assert Counter(pd.read_feather(file)["device"]) == devices
    assert dict(pl.read_ipc(file).group_by("device").len().iter_rows()) == devices
    assert dict(duckdb.sql("select device, count(*) from rows group by all").fetchall()) == devices


def test_the_flood_came_out(flood):
    assert (flood.status, flood.console) == (0, FLOOD_OUT), flood.log


def test_every_byte_of_a_string_write_is_there(flood):
    rows = [row for row in flood.trace.table.to_pylist() if row["addr"] == 0xE9][20_000:]
    assert b"".join(moved(row) for row in rows) == FLOOD_OUT[20_000:]


def test_every_byte_of_a_string_read_is_there(flood):
    rows = [row for row in flood.trace.table.to_pylist() if row["addr"] == 0x5678]
    assert b"".join(moved(row) for row in rows) == b"\xff" * 4000


def test_the_summary_reconciles(run):
    notes = " ".join(summarise(run.trace).notes)
    assert ("io_exits" in notes, "KVM counted" in notes) == (True, True)


def moved(row):
    """The bytes that a row moved."""
    return row["payload"] or row["data"].to_bytes(8, "little")[: row["count"] * row["size"]]
