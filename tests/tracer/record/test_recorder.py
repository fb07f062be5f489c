"""Recording through a fake source: the file has the rings' rows, in order, and a failure loses none."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

import tracer
from tests.fakes.tracefakes import DEVICES, METADATA, Rings, exit_, in_time, numbered, record_all, row
from tracer.format.errors import TraceError
from tracer.format.paths import set_aside
from tracer.record.recorder import FEW, FEW_BYTES, Recorder

ROOT = Path(__file__).parents[3]


def many(vcpus, count):
    return [[numbered(vcpu, number) for number in range(count)] for vcpu in range(vcpus)]


def rows_of(trace):
    return in_time(trace.table.to_pylist())


def test_every_record_becomes_the_row_that_its_fields_say(tmp_path):
    expected = record_all(tmp_path / "boot.arrow", many(2, 300))
    assert rows_of(tracer.load(tmp_path / "boot.arrow")) == expected


def test_batches_that_overlap_are_put_in_order(tmp_path):
    # Without merging, all of vCPU 0 comes before all of vCPU 1, though their times interleave.
    record_all(tmp_path / "boot.arrow", many(3, 100), merge=False)
    times = tracer.load(tmp_path / "boot.arrow").table["t_exit"].to_pylist()
    assert len(times) == 300
    assert times == sorted(times)


def test_rows_of_one_vcpu_keep_their_order_at_equal_times(tmp_path):
    record_all(tmp_path / "boot.arrow", [[exit_(5) for _ in range(50)] for _ in range(2)], merge=False)
    table = tracer.load(tmp_path / "boot.arrow").table
    for vcpu in (0, 1):
        assert [r["seq"] for r in table.to_pylist() if r["vcpu"] == vcpu] == list(range(50))


def test_more_payload_than_a_batch_holds(tmp_path):
    rings = Rings(slots=1024, payload_size=1 << 22)
    records = [exit_(t, data=bytes([t % 256]) * 4000) for t in range(600)]
    for record in records:
        rings.produce(0, record)
    recorder = Recorder(tmp_path / "boot.arrow", rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    trace = tracer.load(recorder.finish({}))
    assert [r["payload"] for r in trace.table.to_pylist()] == [payload for _, payload in records]


def test_a_run_without_exits_is_a_trace_without_rows(tmp_path):
    record_all(tmp_path / "boot.arrow", [[]])
    trace = tracer.load(tmp_path / "boot.arrow")
    assert (trace.table.num_rows, trace.complete, trace.devices) == (0, True, tuple(DEVICES))


def test_the_end_leaves_only_the_trace(tmp_path):
    record_all(tmp_path / "boot.arrow", many(1, 10))
    assert [path.name for path in tmp_path.iterdir()] == ["boot.arrow"]


def test_rows_are_in_the_stream_while_the_run_goes_on(tmp_path):
    rings = Rings()
    recorder = Recorder(tmp_path / "boot.arrow", rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    for number in range(20):
        rings.produce(0, numbered(0, number))
    while rings.get(0, "tail") < 20:
        pass
    trace = tracer.load(tmp_path / "boot.arrows")
    seen = (trace.table.num_rows, trace.complete, trace.summary)
    recorder.finish({})
    assert seen == (20, False, None)


@pytest.mark.parametrize(("long", "name"), [(True, "boot.arrows"), (False, "boot.arrow")])
def test_ring_space_is_freed_only_once_the_rows_are_in_the_file(tmp_path, long, name):
    rings = Rings()
    seen = []
    commit = rings.commit

    def checked():
        names = sorted(path.name for path in tmp_path.iterdir())
        seen.append((names, tracer.load(tmp_path / names[0]).table.num_rows))
        commit()

    rings.commit = checked
    for number in range(20):
        rings.produce(0, numbered(0, number))
    recorder = Recorder(tmp_path / "boot.arrow", rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    while long and not rings.get(0, "tail"):
        pass
    recorder.finish({})
    assert seen == [([name], 20)]


def test_a_short_run_with_more_rows_than_one_batch_loses_none(tmp_path):
    count = FEW + 1
    expected = record_all(tmp_path / "boot.arrow", many(1, count))
    assert len(expected) == count
    assert rows_of(tracer.load(tmp_path / "boot.arrow")) == expected


def test_a_short_run_with_more_payload_than_one_batch_loses_none(tmp_path):
    rings = Rings(payload_size=2 * FEW_BYTES)
    records = [exit_(time, data=bytes([time]) * 4000) for time in range(FEW_BYTES // 4000 + 1)]
    for record in records:
        rings.produce(0, record)
    recorder = Recorder(tmp_path / "boot.arrow", rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    rows = tracer.load(recorder.finish({})).table.to_pylist()
    assert [r["payload"] for r in rows] == [payload for _, payload in records]


def test_a_directory_that_is_not_there_is_a_failure_told_once(tmp_path):
    failures = []
    recorder = Recorder(tmp_path / "no" / "boot.arrow", Rings(), lambda: METADATA, DEVICES, failures.append)
    recorder.start()
    with pytest.raises(TraceError, match="No such file or directory") as raised:
        recorder.finish({})
    assert failures == [raised.value]


def test_any_error_of_the_source_is_told(tmp_path):
    rings = Rings()
    rings.drain = lambda buffers: 1 // 0
    failures = []
    recorder = Recorder(tmp_path / "boot.arrow", rings, lambda: METADATA, DEVICES, failures.append)
    recorder.start()
    with pytest.raises(TraceError, match="ZeroDivisionError"):
        recorder.finish({})
    assert len(failures) == 1


def test_a_name_that_recording_itself_needs_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"ends in \.arrow"):
        set_aside(tmp_path / "boot.arrows")


def test_when_the_last_file_cannot_be_written_the_stream_stays_and_is_complete(tmp_path):
    (tmp_path / "boot.arrow").mkdir()  # so that the rename fails
    with pytest.raises(TraceError, match=r"Is a directory.*vmtrace recover"):
        record_all(tmp_path / "boot.arrow", many(1, 30))
    trace = tracer.load(tmp_path / "boot.arrows")
    assert (trace.table.num_rows, trace.complete) == (30, True)
    assert not list(tmp_path.glob("*.tmp"))


def test_recording_imports_only_what_it_needs(tmp_path):
    # pyarrow imports pandas for many a small call, and its compute functions cost 60 ms: not in a running VMM.
    code = """
        import sys
        from pathlib import Path
        from tests.fakes.tracefakes import numbered, record_all
        record_all(Path(sys.argv[1]), [[numbered(v, n) for n in range(100)] for v in range(2)])
        print([name for name in ("pandas", "pyarrow.compute", "pyarrow.parquet") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "boot.arrow")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout == b"[]\n"


# A recorder whose disk is full after so many bytes: RLIMIT_FSIZE gives EFBIG where a disk gives ENOSPC.
FULL = """
    import resource, sys
    from pathlib import Path
    from tests.fakes.tracefakes import *
    from tracer.format.errors import TraceError
    from tracer.record.recorder import FEW, FEW_BYTES, Recorder
    path = Path(sys.argv[1])
    rings = Rings(slots=1024, payload_size=1 << 16, file=path.with_suffix(".ring"))
    if sys.argv[2] != "0":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    failures = []
    recorder = Recorder(path, rings, lambda: METADATA, DEVICES, failures.append)
    recorder.start()
    number = 0
    while not failures and number < 20000:
        if rings.room(0, 64):
            rings.produce(0, numbered(0, number))
            number += 1
    try:
        recorder.finish({})
    except TraceError as error:
        print(number, len(failures), error, sep="\\n")
"""


def run_out_of_room(path, limit):
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(path), str(limit)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
    produced, failures, message = done.stdout.splitlines()
    return int(produced), int(failures), message


def check_nothing_lost(path, produced, output):
    stream = tracer.load(path.with_suffix(".arrows"))
    assert not stream.complete
    assert 0 < stream.table.num_rows < produced
    result = tracer.recover(path, output)
    assert (result.rows_from_stream, result.problems) == (stream.table.num_rows, ())
    expected = [row(0, number, numbered(0, number)) for number in range(produced)]
    assert rows_of(tracer.load(output)) == expected


@pytest.mark.parametrize("limit", [200_000, 200_001, 255_555])
def test_a_full_disk_ends_recording_and_loses_nothing(tmp_path, limit):
    path = tmp_path / "boot.arrow"
    produced, failures, message = run_out_of_room(path, limit)
    assert failures == 1
    assert os.strerror(errno.EFBIG) in message
    assert "vmtrace recover" in message
    check_nothing_lost(path, produced, tmp_path / "recovered.arrow")


def test_the_stream_of_a_full_disk_ends_with_a_whole_batch(tmp_path):
    path = tmp_path / "boot.arrow"
    run_out_of_room(path, 200_000)
    with pa.OSFile(str(path.with_suffix(".arrows"))) as source, pa.ipc.open_stream(source) as reader:
        assert sum(batch.num_rows for batch in reader)  # Arrow itself finds nothing cut


def test_a_full_file_system_ends_recording_and_loses_nothing(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        produced, failures, message = run_out_of_room(place / "boot.arrow", 0)
        assert failures == 1
        assert os.strerror(errno.ENOSPC) in message
        check_nothing_lost(place / "boot.arrow", produced, tmp_path / "recovered.arrow")
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_stream_that_went_away_is_an_error_not_an_empty_trace(tmp_path):
    rings = Rings()
    recorder = Recorder(tmp_path / "boot.arrow", rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    rings.produce(0, numbered(0, 0))
    while not rings.get(0, "tail"):
        pass
    trace = tracer.load(tmp_path / "boot.arrows")
    recorder.finish({})
    with pytest.raises(TraceError, match="cannot open"):
        _ = trace.table


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_was_deleted_meanwhile_is_not_said_to_hold_the_trace(tmp_path, anew):
    folder = tmp_path / "runs"
    folder.mkdir()
    rings = Rings()
    recorder = Recorder(folder / "boot.arrow", rings, lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    rings.produce(0, numbered(0, 0))
    while not rings.get(0, "tail"):
        pass
    shutil.rmtree(folder)
    if anew:
        folder.mkdir()
    with pytest.raises(TraceError, match=r"boot\.arrows was deleted: the trace is lost$"):
        recorder.finish({})


def test_a_folder_that_is_deleted_as_its_stream_is_made_is_not_said_to_hold_anything(tmp_path, monkeypatch):
    folder = tmp_path / "runs"
    folder.mkdir()
    opened = pa.OSFile

    def vanishing(path, mode):
        file = opened(path, mode)
        shutil.rmtree(folder)
        return file

    monkeypatch.setattr(pa, "OSFile", vanishing)
    recorder = Recorder(folder / "boot.arrow", Rings(), lambda: METADATA, DEVICES, pytest.fail)
    recorder.start()
    while folder.exists():
        pass
    with pytest.raises(TraceError, match=r"boot\.arrows was deleted: the trace is lost$"):
        recorder.finish({})
