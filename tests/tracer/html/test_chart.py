"""The data that the page draws."""

import tracer
from tests.fakes.tracefakes import exit_
from tracer.analysis.density import Density
from tracer.html.chart import ROWS, chart_data
from tracer.html.data import gather


def unpacked(row):
    """Bins to exits."""
    bins, at = {}, 0
    for step, exits in zip(row["bins"], row["exits"], strict=True):
        at += step
        bins[at] = exits
    return bins


def test_rows_are_sparse_and_by_exits(boot):
    found = gather(tracer.load(boot))
    pairs, vcpus = chart_data(found)["densities"]
    assert [row["name"] for row in pairs["rows"]] == ["serial0 io", "rtc0 mmio", "hlt", "no device io"]
    assert [row["name"] for row in vcpus["rows"]] == ["vCPU 0", "vCPU 1"]
    assert [sum(row["exits"]) for row in pairs["rows"]] == [37, 30, 1, 1]
    assert list(unpacked(pairs["rows"][2])) == [50_000_000 // pairs["width"]]
    assert pairs["rows"][2]["ns"] == [5_000_000]


def test_rows_beyond_the_most_frequent_are_one(record):
    devices = ["serial0", *(f"d{number}" for number in range(ROWS + 5))]
    exits = lambda: [[exit_(1000 * at, device=name) for at, name in enumerate(devices * 2)]]  # noqa: E731
    (density,) = chart_data(gather(tracer.load(record(exits, devices=devices))))["densities"]
    assert len(density["rows"]) == ROWS
    assert density["rows"][-1]["name"] == f"{len(devices) - ROWS + 1} others"
    assert sum(sum(row["exits"]) for row in density["rows"]) == 2 * len(devices)


def test_no_exits_no_densities(record):
    assert chart_data(gather(tracer.load(record([[]]))))["densities"] == []


def test_bins_joined_for_their_number_still_cover_the_run(boot, monkeypatch):
    monkeypatch.setattr("tracer.html.data.Density", lambda end, keys: Density(end, keys, cells=8))
    found = gather(tracer.load(boot))
    for density in chart_data(found)["densities"]:
        ends = [(max(unpacked(row)) + 1) * density["width"] for row in density["rows"]]
        assert max(ends) >= 95_000_000  # the last exit
        assert max(ends) - density["width"] < found.end
