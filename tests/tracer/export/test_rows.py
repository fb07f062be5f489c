"""The formats that hold the rows themselves: Parquet and CSV; and collapsed stacks, which count them."""

import csv
import json

import duckdb
import pandas
import polars
import pyarrow.parquet

from tests.fakes.comparefakes import exit_row
from tests.tracer.export.exportfakes import exported, some_rows, with_tracepoints
from tracer.read.reader import load


def test_parquet_has_the_same_rows_schema_metadata_and_summary(tmp_path):
    path = exported(tmp_path, "parquet")
    ours, theirs = load(tmp_path / "trace.arrow"), pyarrow.parquet.read_table(path)
    metadata = dict(theirs.schema.metadata)
    assert json.loads(metadata.pop(b"vmrun.summary")) == ours.summary
    assert theirs.schema.with_metadata(metadata).equals(ours.schema, check_metadata=True)
    assert theirs.to_pylist() == ours.table.to_pylist()


def test_parquet_opens_in_pandas_polars_and_duckdb(tmp_path):
    path = exported(tmp_path, "parquet")
    rows = load(tmp_path / "trace.arrow").table.to_pylist()
    assert pandas.read_parquet(path).to_dict("records") == rows
    assert polars.read_parquet(path).to_dicts() == rows
    names = ", ".join(f'"{name}"' for name in rows[0])
    found = duckdb.sql(f"select {names} from '{path}'").fetchall()
    assert found == [tuple(row.values()) for row in rows]


def test_parquet_of_no_rows(tmp_path):
    assert pyarrow.parquet.read_table(exported(tmp_path, "parquet", [])).num_rows == 0


def test_csv(tmp_path):
    with exported(tmp_path, "csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    rows = load(tmp_path / "trace.arrow").table.to_pylist()
    assert found == [
        {name: value.hex() if isinstance(value, bytes) else str(value) for name, value in row.items()} for row in rows
    ]


def stacks(path):
    """Weights by stack."""
    found = [line.rsplit(" ", 1) for line in path.read_text().splitlines()]
    assert len(dict(found)) == len(found)
    return {stack: int(weight) for stack, weight in found}


def test_collapsed_by_exits(tmp_path):
    assert stacks(exported(tmp_path, "collapsed")) == {
        "vCPU 0;hlt": 1,
        "vCPU 0;serial0;io write 0x3f8": 6,
        "vCPU 0;wrmsr write 0x4b564d00": 1,
        "vCPU 1;mmio write 0xffffffffffffffff": 1,
        **{f"vCPU 1;rtc0;mmio write {0xFEED_0000 + n:#x}": 1 for n in range(3)},
    }


def test_collapsed_by_time_is_all_the_time(tmp_path):
    found = stacks(exported(tmp_path, "collapsed", None, "--weight", "time"))
    assert found["vCPU 0;serial0;io write 0x3f8"] == 6 * 400
    for vcpu in (0, 1):
        total = sum(weight for stack, weight in found.items() if stack.startswith(f"vCPU {vcpu};"))
        assert total == 1000 * len(some_rows())


def test_collapsed_by_time_of_a_hang(tmp_path):
    stats = {"start": [{"halt_wait_ns": 0}], "end": [{"halt_wait_ns": 2000}]}
    closing = {"duration_ns": 3000, "start_ns": [500], "stop_ns": [2900], "open_ns": [None], "stats": stats}
    rows = [exit_row(t_exit=600, t_entry=700)]
    assert stacks(exported(tmp_path, "collapsed", rows, "--weight", "time", closing=closing)) == {
        "vCPU 0;before the first KVM_RUN": 500,
        "vCPU 0;serial0;io write 0x3f8": 100,
        "vCPU 0;KVM_RUN": 300,
        "vCPU 0;KVM_RUN;halted": 2000,
        "vCPU 0;stopped": 100,
    }


def test_collapsed_with_the_exits_that_kvm_handled(tmp_path):
    assert stacks(with_tracepoints(tmp_path, "collapsed")) == {
        "vCPU 0;serial0;io write 0x3f8": 1,
        "vCPU 0;KVM_RUN;kvm;npf": 1,
        "vCPU 0;KVM_RUN;kvm;msr": 1,
        "vCPU 0;KVM_RUN;halted": 1,
    }
    assert stacks(with_tracepoints(tmp_path, "collapsed", "--weight", "time")) == {
        "vCPU 0;before the first KVM_RUN": 20,
        "vCPU 0;KVM_RUN;waiting": 30,
        "vCPU 0;KVM_RUN;guest": 320,
        "vCPU 0;KVM_RUN;halted": 200,
        "vCPU 0;KVM_RUN;kvm;ioio": 100,
        "vCPU 0;KVM_RUN;kvm;msr": 500,
        "vCPU 0;KVM_RUN;kvm;npf": 30,
        "vCPU 0;serial0;io write 0x3f8": 300,
        "vCPU 0;stopped": 100,
    }


def test_tracepoints_as_parquet_and_csv(tmp_path):
    table = pyarrow.parquet.read_table(with_tracepoints(tmp_path, "parquet", "--table", "tracepoints"))
    rows = load(tmp_path / "trace.arrow").tracepoints.table.to_pylist()
    assert (table.to_pylist(), len(rows)) == (rows, 11)
    with with_tracepoints(tmp_path, "csv", "--table", "tracepoints").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{name: str(value) for name, value in row.items()} for row in rows]


def test_names_do_not_break_a_stack(tmp_path):
    rows = [exit_row(device="a;b\n c")]
    assert stacks(exported(tmp_path, "collapsed", rows, devices=("a;b\n c",))) == {"vCPU 0;a:b\\n c;io write 0x3f8": 1}
