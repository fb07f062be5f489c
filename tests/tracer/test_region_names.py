"""Each view that shows an access names the region, if the device has several: here a port and two BARs that move."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.comparefakes import METADATA, exit_row, write_trace
from tests.tracer.export.pftraces import parsed, slices
from tracer.cli import main
from tracer.export.chrome import DEVICES, VM

REGIONS = {
    "serial0": [{"name": "port", "space": "port", "size": 8, "start": 0x3F8}],
    "card0": [
        {"name": "port", "space": "port", "size": 4, "start": 0x300},
        {"name": "bar0", "space": "mmio", "size": 0x1000, "start": None},
        {"name": "bar2", "space": "mmio", "size": 0x4000, "start": None},
    ],
}
access = partial(exit_row, device="card0", reason="mmio", size=4, region=1)
# bar2 lies, after it was moved, where bar0 was. A uart's register and a port of one region have no other name.
ROWS = [
    exit_row(),
    access(addr=0xD000_0010),
    access(addr=0xD000_0010, region=2),
    access(reason="io", addr=0x302, region=0),
]
PLACES = ["COM1 THR", "card0 bar0+0x10", "card0 bar2+0x10", "card0 port+0x2"]


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs vmtrace in a folder with two traces that differ at their ends; gives what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write = partial(write_trace, devices=("serial0", "card0"))
    told = METADATA | {"vmrun.regions": json.dumps(REGIONS), "vmrun.clock": '{"tsc_start": 1, "tsc_khz": 1000}'}
    write(tmp_path / "a.arrow", ROWS, metadata=told)
    # In B the device's BARs have other names.
    other = json.dumps(REGIONS).replace("bar", "window")
    more = [access(addr=0xD000_0FFC, data=1), access(addr=0xD000_2000, region=2)]
    write(tmp_path / "b.arrow", [*ROWS, *more], metadata=told | {"vmrun.regions": other})

    def run(*words):
        assert main(list(words)) < 2
        return capsys.readouterr().out

    return run


def column(rows, name="what"):
    return [row[name] for row in rows]


def test_events(run):
    assert column(map(json.loads, run("events", "a.arrow", "--json").splitlines())) == PLACES


def test_a_filter_that_matches_nothing_counts_by_the_same_names(run, capsys):
    main(["events", "a.arrow", "--where", "what == 'card0 bar0+0x10' and size == 8"])
    assert "what == 'card0 bar0+0x10': 1; size == 8: 0" in capsys.readouterr().err


def test_summary(run):
    assert sorted(column(json.loads(run("summary", "a.arrow", "--json"))["address"])) == PLACES


def test_hot(run):
    rows = json.loads(run("hot", "a.arrow", "--by", "what", "--json"))["symbols"]
    assert sorted(column(rows)) == PLACES
    lines = run("hot", "a.arrow", "--by", "what", "--collapsed").splitlines()
    assert sorted(line.partition(";")[0] for line in lines) == [place.replace(" ", "_") for place in PLACES]


def test_sql(run):
    found = json.loads(run("sql", "a.arrow", "select what from exits", "--json"))
    assert column(found if isinstance(found, list) else next(iter(found.values()))) == PLACES


def test_the_totals_of_a_difference_have_the_names_of_the_trace_that_has_the_exits(run):
    rows = json.loads(run("diff", "a.arrow", "b.arrow", "--json"))["addresses"]
    assert column(rows) == ["card0 window0+0xffc", "card0 window2+0x2000"]
    assert "region" not in rows[0]
    rows = json.loads(run("diff", "b.arrow", "a.arrow", "--json"))["addresses"]
    assert column(rows) == ["card0 window0+0xffc", "card0 window2+0x2000"]


def test_the_rows_of_a_difference_have_the_names_of_their_own_traces(run):
    rows = json.loads(run("diff", "a.arrow", "b.arrow", "--json"))["rows"]
    assert column(rows) == [*PLACES[1:], "card0 window0+0xffc", "card0 window2+0x2000"]
    text = run("diff", "a.arrow", "b.arrow")
    places = ("card0 bar2+0x10", "card0 port+0x2", "card0 window0+0xffc", "card0 window2+0x2000")
    assert [place in text for place in places] == [True] * 4


def test_top(run):
    lines = run("top", "a.arrow").splitlines()
    shown = sorted(line.partition("write ")[2] for line in lines if "write " in line)
    assert shown == ["COM1 THR 0x3f8  serial0", *PLACES[1:]]


def test_merged_traces(run):
    run("merge", "a.arrow", "b.arrow", "-o", "both.arrow")
    shown = column(map(json.loads, run("events", "both.arrow", "--json").splitlines()))
    assert {"a/card0 bar0+0x10", "b/card0 window2+0x2000"} <= set(shown)


def test_an_export_to_chrome(run):
    run("export", "a.arrow", "--chrome", "-o", "a.json")
    events = [event for event in json.loads(Path("a.json").read_text())["traceEvents"] if event.get("cat") == "exit"]
    assert [event["args"]["what"] for event in events if event["pid"] == VM and event["args"]] == PLACES
    assert [event["name"] for event in events if event["pid"] == DEVICES] == [f"write {place}" for place in PLACES]


def test_an_export_to_perfetto(run):
    run("export", "a.arrow", "--perfetto", "-o", "a.pftrace")
    found = slices(parsed(Path("a.pftrace")))
    assert [facts["what"] for track, *_, facts in found if track == "vCPU 0" and facts] == PLACES
    own = {name for track, name, *_ in found if track == "card0, vCPU 0"}
    assert own == {"mmio write", "write card0 port+0x2"}
