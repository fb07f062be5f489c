"""Damaged traces: comparing and exporting them ends with a status, never with a traceback."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.comparefakes import write_trace
from tests.tracer.export.exportfakes import some_rows
from tracer.cli import main

FORMATS = ("perfetto", "chrome", "collapsed", "parquet", "csv", "pcap")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a trace, ``a.arrow``."""
    folder = tmp_path_factory.mktemp("damaged")
    write_trace(folder / "a.arrow", some_rows(), batch=4)
    return folder


@pytest.mark.long
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_damaged_traces_end_with_a_status(folder, data):
    damaged = bytearray((folder / "a.arrow").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, len(damaged) - 1))
        damaged[at] = data.draw(st.one_of(st.integers(0, 255), st.just(damaged[at] ^ 1)))
    (folder / "b.arrow").write_bytes(damaged)
    a, b = str(folder / "a.arrow"), str(folder / "b.arrow")
    assert main(["diff", a, b]) in (0, 1, 2)
    assert main(["diff", "--stat", a, "--against", b, "--line", "boot"]) in (0, 1, 2)
    format_ = data.draw(st.sampled_from(FORMATS))
    assert main(["export", b, f"--{format_}", "-o", str(folder / "out")]) in (0, 2)
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]
