"""Campaigns: their tables, and whether two differ."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.analysis.campaign import summarised
from tracer.analysis.regression import compare, holm, schemas
from tracer.cli import main
from tracer.format.errors import TraceError
from tracer.read.campaign import load


def run(seconds=1.0, exits=3, status=0, kind="halt", **more):
    groups = [
        {"device": "debug-port0", "reason": "io", "exits": exits - 1},
        {"device": "-", "reason": "hlt", "exits": 1},
    ]
    row = {"spec": "/s/a.toml", "status": status, "kind": kind, "error": None, "seconds": seconds, "exits": exits}
    return row | {"handling_ns": 5000, "groups": groups, "phases": None, "set.vm.vcpus": 1} | more


@pytest.fixture
def campaign(tmp_path):
    """Writes the data set of some rows; returns its folder."""

    def make(name, rows, journal=""):
        folder = tmp_path / name
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / "runs.parquet")
        (folder / "runs.journal").write_text(journal)
        return folder

    return make


def rows(table):
    return table.to_pylist()


def test_the_machines_and_how_their_runs_ended(campaign):
    made = [run(seconds=n) for n in range(1, 21)]
    made += [run(seconds=99, exits=9, status=5, kind="timeout", error="it timed out"), run(**{"set.vm.vcpus": 2})]
    tables = summarised(load(campaign("a", made)))
    one, two = rows(tables["machines"])
    assert (one["machine"], one["runs"], one["failed"], one["exits_max"]) == ("a[vm.vcpus=1]", 21, 1, 3)
    assert (one["p5_ns"], one["median_ns"], one["p95_ns"]) == pytest.approx((1.95e9, 10.5e9, 19.05e9))
    assert (two["machine"], two["runs"], two["p5_ns"], two["p95_ns"]) == ("a[vm.vcpus=2]", 1, 1e9, 1e9)
    ends = [(row["machine"], row["status"], row["runs"], row["error"]) for row in rows(tables["ends"])]
    assert ends[:2] == [("a[vm.vcpus=1]", 0, 20, None), ("a[vm.vcpus=1]", 5, 1, "it timed out")]


def test_a_machine_that_never_succeeds_has_no_times(campaign):
    made = [run(seconds=None, exits=0, status=3, kind=None, groups=[], handling_ns=None)]
    (row,) = rows(summarised(load(campaign("a", made)))["machines"])
    assert (row["failed"], row["median_ns"], row["exits"]) == (1, None, None)


def test_two_peaks_are_no_difference_and_a_shift_of_each_is_one(campaign):
    """Boots take 1 s or 3 s. Their means say little; ranks find a shift of both by a tenth."""
    chance = random.Random(3)
    times = [[chance.choice((1, 3)) * chance.uniform(0.98, 1.02) for _ in range(200)] for _ in range(3)]
    a, b = (campaign(name, [run(seconds=s) for s in times[n]]) for n, name in enumerate("ab"))
    assert compare(load(a), load(b)).differs is False
    c = campaign("c", [run(seconds=s * 1.1) for s in times[2]])
    found = rows(compare(load(a), load(c)).tables["times"])[0]
    assert (found["quantity"], found["differs"]) == ("run", True)
    assert 0.33 < found["effect"] < 0.6
    assert compare(load(a), load(c), effect=0.7).differs is False
    assert compare(load(a), load(c), alpha=0.0).differs is False
    assert compare(load(a), load(c), only="all").differs is False


def test_one_exit_more_in_each_run_is_found_by_its_device(campaign):
    a, b = campaign("a", [run()] * 20), campaign("b", [run(exits=4)] * 20)
    found = {row["quantity"]: row for row in rows(compare(load(a), load(b)).tables["exits"])}
    assert {name for name, row in found.items() if row["differs"]} == {"all", "io debug-port0"}
    assert (found["io debug-port0"]["a"], found["io debug-port0"]["b"], found["all"]["effect"]) == (2, 3, 1)
    assert found["hlt"]["effect"] == 0


def test_exits_of_a_device_that_one_side_does_not_have(campaign):
    a = campaign("a", [run(groups=[]) for _ in range(20)])
    found = {row["quantity"]: row for row in rows(compare(load(a), load(campaign("b", [run()] * 20))).tables["exits"])}
    assert (found["hlt"]["a"], found["hlt"]["b"], found["hlt"]["differs"]) == (0, 1, True)


def test_the_tables_have_their_columns(campaign):
    a = load(campaign("a", [run()]))
    tables = compare(a, a).tables
    assert {name: table.schema for name, table in tables.items()} == schemas()
    types = [(field.name, str(field.type)) for field in tables["times"].schema]
    assert types == [
        ("machine", "string"), ("quantity", "string"), ("a", "double"), ("b", "double"), ("effect", "double"),
        ("p", "double"), ("differs", "bool"),
    ]  # fmt: skip
    units = {name: [field.metadata[b"unit"].decode() for field in table.schema] for name, table in tables.items()}
    assert units == {
        name: ["", "text", unit, unit, "", "", ""]
        for name, unit in (("failures", "share"), ("times", "ns"), ("exits", ""))
    }


def test_a_row_names_its_machine_and_its_quantity(campaign):
    a = load(campaign("a", [run(**{"set.vm.vcpus": n}) for n in (1, 2)]))
    tables = compare(a, a).tables
    machines = ["a[vm.vcpus=1]", "a[vm.vcpus=2]"]
    assert [(row["machine"], row["quantity"]) for row in rows(tables["failures"])] == [
        (machine, "failed runs") for machine in machines
    ]
    times = [(row["machine"], row["quantity"]) for row in rows(tables["times"])]
    assert times == [(machine, name) for machine in machines for name in ("run", "handling")]
    exits = [row["quantity"] for row in rows(tables["exits"])][:3]
    assert exits == ["all", "hlt", "io debug-port0"]


def test_a_quantity_at_both_limits_differs(campaign):
    a, b = load(campaign("a", [run()] * 20)), load(campaign("b", [run(exits=4)] * 20))
    of_all = next(row for row in rows(compare(a, b).tables["exits"]) if row["quantity"] == "all")
    assert of_all["effect"] == 1
    assert compare(a, b, effect=1.0, alpha=of_all["p"]).differs is True
    assert compare(a, b, effect=1.0, alpha=of_all["p"] * 0.99).differs is False


def test_what_differs_comes_first(campaign):
    a, b = load(campaign("a", [run()] * 20)), load(campaign("b", [run(handling_ns=9000)] * 20))
    assert [(row["quantity"], row["differs"]) for row in rows(compare(a, b).tables["times"])] == [
        ("handling", True),
        ("run", False),
    ]


@pytest.mark.parametrize(("runs", "few"), [(7, True), (8, False)])
def test_what_is_said_of_a_comparison(campaign, runs, few):
    both = [run()] * 9
    a = load(campaign("a", [*both, run(**{"set.vm.vcpus": 2})]))
    b = load(campaign("b", both[:runs] + [run(**{"set.vm.vcpus": n}) for n in (3, 4)]))
    found = compare(a, b)
    assert (found.differs, found.few) == (False, few)
    said = [
        "0 of 6 quantities of 1 machine differ",
        f"at least 9 runs of each machine in A, {runs} in B",
        "only in A: a[vm.vcpus=2]",
        "only in B: a[vm.vcpus=3], a[vm.vcpus=4]",
    ]
    said[1] += "; with fewer than 8, hardly any difference can be shown" if few else ""
    assert found.text.splitlines() == said


def test_a_phase_that_one_side_does_not_have_is_not_compared(campaign):
    phases = [{"phase": "one", "time_ns": 1.0}, {"phase": "two", "time_ns": 2.0}]
    a, b = load(campaign("a", [run(phases=phases)])), load(campaign("b", [run(phases=phases[:1] * 2)]))
    for one, other in ((a, b), (b, a)):
        names = [row["quantity"] for row in rows(compare(one, other).tables["times"])]
        assert names == ["run", "handling", "phase one"]


def test_more_failures_are_a_difference(campaign):
    a = campaign("a", [run()] * 40)
    b = campaign("b", [run()] * 30 + [run(status=4, kind="triple-fault")] * 10)
    (row,) = rows(compare(load(a), load(b)).tables["failures"])
    assert (row["a"], row["b"], row["differs"]) == (0, 0.25, True)
    assert compare(load(a), load(campaign("c", [run()] * 39 + [run(status=4)]))).differs is False


def test_p_values_are_corrected_for_their_number():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=30))
def test_a_correction_keeps_the_order_and_lowers_nothing(ps):
    corrected = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, corrected, strict=True))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    assert [corrected[i] for i in order] == sorted(corrected)


def test_the_command_says_which_side_has_what_alone(campaign, capsys):
    a = campaign("a", [run()] * 3, journal='{"run": "x"}\n')
    b = campaign("b", [run()] * 3 + [run(**{"set.vm.vcpus": 4})])
    assert main(["campaign", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "with fewer than 8, hardly any difference can be shown" in said
    assert "only in B: a[vm.vcpus=4]" in said
    assert main(["campaign", str(a)]) == 0
    assert "1 more are in its journal" in capsys.readouterr().out
    assert main(["campaign", str(a), "--json"]) == 0
    assert [row["runs"] for row in json.loads(capsys.readouterr().out)["machines"]] == [3]


@pytest.mark.parametrize(
    ("ours", "theirs", "status", "said"),
    [([run()] * 20, [run()] * 20, 0, "good"), ([run()] * 20, [run(exits=5)] * 20, 1, "bad"),
     ([run()] * 3, [run()] * 20, 125, "unknown: too few runs")],
)  # fmt: skip
def test_a_verdict_for_git_bisect(campaign, capsys, ours, theirs, status, said):
    assert main(["campaign", str(campaign("a", ours)), str(campaign("b", theirs)), "--bisect"]) == status
    assert capsys.readouterr().out == f"{said}\n"


def test_what_is_wrong_is_told(campaign, tmp_path, capsys):
    a = campaign("a", [run()])
    other = campaign("b", [run(spec="b.toml")])
    (tmp_path / "text").write_text("no data")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    for arguments, said in (
        ([tmp_path / "none"], "there is no such data set"),
        ([tmp_path / "text"], "is not the data set of a campaign"),
        ([tmp_path / "x.parquet"], "it has no column 'spec'"),
        ([a, other], "the campaigns have no machine in common: a[vm.vcpus=1]; and b[vm.vcpus=1]"),
        ([a, a, "--only", "nothing"], "no quantity matches 'nothing'"),
        ([a, "--bisect"], "compare two campaigns"),
        ([a, a, a], "give one or two campaigns, not 3"),
    ):
        assert main(["campaign", *map(str, arguments)]) == 2
        assert said in capsys.readouterr().err


def test_scipy_is_an_extra(campaign, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    one = load(campaign("a", [run()]))
    with pytest.raises(TraceError, match=r"^comparing campaigns needs scipy: pip install 'vmrun\[campaign\]'$"):
        compare(one, one)
