"""The data set of a campaign: no run is lost, and none is there twice."""

import pyarrow.parquet as pq
import pytest

from runner.campaign.dataset import DataSet
from runner.campaign.measure import Measured
from runner.campaign.rows import lost, row
from runner.campaign.runs import Machine, Run
from runner.expect.unmet import Unmet
from runner.machine.result import Result
from runner.workers.folder import FolderError
from runner.workers.schedule import Demand
from runner.workers.task import Outcome
from vmspec.trace.campaigns import DATA, JOURNAL


def run(number, **values):
    return Run(Machine("spec.toml", (), values, Demand(), "lock"), number, f"run{number}")


def made(number, **values):
    result = Result("halt", 1, "", b"", None, {}, 0.25, unmet=(Unmet("expect.exit", "the end reset", "halt"),))
    groups = [{"device": None, "reason": "io", "exits": 3, "handling_ns": 30, "median_ns": 10, "p99_ns": 11}]
    return row(run(number, **values), Measured(Outcome(1, result, "", 1_800_000_000.5, 0.5), groups))


def names(folder):
    return pq.read_table(folder / DATA)["run"].to_pylist()


def test_a_row_has_the_overrides_as_columns(tmp_path):
    with DataSet.opened(tmp_path) as data:
        data.add(made(0, **{"vm.vcpus": 2, "vm.memory": "1MiB"}))
        data.add(lost(run(1), 3, "the run was lost"))
    one, other = pq.read_table(tmp_path / DATA).to_pylist()
    wanted = {"set.vm.vcpus": 2, "set.vm.memory": "1MiB", "status": 1, "kind": "halt", "exits": 3, "seconds": 0.25}
    assert {name: one[name] for name in wanted} == wanted
    assert one["started"].isoformat() == "2027-01-15T08:00:00.500000+00:00"
    assert (one["unmet"], one["groups"][0]["reason"]) == (["expect.exit: expected the end reset; halt"], "io")
    assert (other["kind"], other["error"], other["seconds"], other["set.vm.vcpus"]) == (
        None, "the run was lost", None, None,
    )  # fmt: skip


def test_a_kill_loses_no_run_and_a_cut_line_is_removed(tmp_path):
    with DataSet.opened(tmp_path) as data:
        data.add(made(0))
        journal = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(journal.replace(b"run0", b"run1") + journal[:20])
    with DataSet.opened(tmp_path) as data:
        assert data.names == {"run0", "run1"}
        data.add(made(2))
    assert names(tmp_path) == ["run0", "run1", "run2"]


def test_a_kill_after_the_file_was_written_counts_nothing_twice(tmp_path):
    with DataSet.opened(tmp_path) as data:
        data.add(made(0))
        journal = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(journal)
    with DataSet.opened(tmp_path):
        pass
    assert names(tmp_path) == ["run0"]


@pytest.mark.parametrize(
    ("before", "after", "together"), [(1, "x", ["1", "x"]), (1, 2.5, ["1", "2.5"]), (1, 2, [1, 2])]
)
def test_an_override_whose_values_change_their_type_becomes_text(tmp_path, before, after, together):
    for number, value in enumerate((before, after)):
        with DataSet.opened(tmp_path) as data:
            data.add(made(number, key=value))
    assert pq.read_table(tmp_path / DATA)["set.key"].to_pylist() == together


def test_a_folder_is_used_by_one_campaign_at_a_time(tmp_path):
    with (
        DataSet.opened(tmp_path),
        pytest.raises(FolderError, match="another campaign uses it"),
        DataSet.opened(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "what"),
    [("other", "it has other files, such as other"), (DATA, "is not the data of a campaign"),
     (JOURNAL, "is not the journal of a campaign")],
)  # fmt: skip
def test_a_folder_with_anything_else_is_left_as_it_is(tmp_path, name, what):
    (tmp_path / name).write_text("text\n")
    with pytest.raises(FolderError, match=what), DataSet.opened(tmp_path):
        pass
    assert (tmp_path / name).read_text() == "text\n"
