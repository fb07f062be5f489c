"""``vmtrace report``."""

import sys

import pytest

from tracer.cli import main


def test_it_writes_the_page_beside_the_trace(boot, capsys):
    assert main(["report", str(boot)]) == 0
    assert boot.with_suffix(".html").read_text().startswith("<!doctype html>")
    assert capsys.readouterr().out.startswith(f"{boot.with_suffix('.html')}: ")
    assert sorted(path.name for path in boot.parent.iterdir()) == ["boot.arrow", "boot.html"]


def test_it_does_not_overwrite_the_trace(boot, capsys):
    before = boot.read_bytes()
    assert main(["report", str(boot), "-o", str(boot)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert boot.read_bytes() == before


def test_a_page_that_cannot_be_written(boot, capsys):
    assert main(["report", str(boot), "-o", str(boot.parent / "no" / "page.html")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["jinja2", "plotly.offline"])
def test_a_missing_package_is_said(boot, capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["report", str(boot)]) == 2
    assert "pip install 'vmrun[report]'" in capsys.readouterr().err


def test_a_damaged_trace(boot, capsys):
    data = bytearray(boot.read_bytes())
    boot.write_bytes(data[: len(data) // 2])
    assert main(["report", str(boot)]) == 2
    assert str(boot) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("times", "status", "said"),
    [
        ((-(1 << 63), (1 << 63) - 1), 2, "has an impossible time"),
        (((1 << 63) - 1, -(1 << 63)), 2, "has an impossible time"),
        ((-(1 << 61), (1 << 61) - 1), 0, ""),
        ((-5, -1), 0, ""),
    ],
)
def test_times_that_no_run_has(boot, capsys, times, status, said):
    import pyarrow as pa

    import tracer
    from tracer.record.rewrite import empty, summary_metadata

    trace = tracer.load(boot)
    (batch,) = trace.batches()
    t = pa.array([times[row % 2] for row in range(batch.num_rows)], pa.int64())
    for name in ("t_exit", "t_entry"):
        batch = batch.set_column(batch.schema.get_field_index(name), trace.schema.field(name), t)
    with pa.OSFile(str(boot), "wb") as sink, pa.ipc.new_file(sink, trace.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(empty(trace.schema), custom_metadata=summary_metadata({"duration_ns": -7}))
    assert main(["report", str(boot)]) == status
    assert said in capsys.readouterr().err
