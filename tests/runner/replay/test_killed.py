"""SIGKILL of a vmrun that records DMA, and of its recorder: what was recorded can be read, and replayed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

import tracer
from runner.replay.recording import Recording
from runner.replay.replaying import replay
from runner.session.given import Given
from tests.fakes.processes import eventually, gone, recorder_of
from tests.runner.replay import devicesguests as guests
from tracer.cli import main as vmtrace
from vmspec.trace.files import table_stream_path

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[3]


@pytest.fixture
def running(tmp_path):
    """A vmrun whose guest reads a disk for ever, once its stream of DMA has rows."""
    (tmp_path / "disk.img").write_bytes(os.urandom(1 << 15))
    spec = {
        "vm": {"name": "killed", "memory": "1MiB", **guests.VIRTUAL},
        "boot": {"mode": "protected", "code": guests.reads_for_ever(3).hex(" ")},
        "device": [{"kind": "virtio-blk", "path": "disk.img", "mode": "ro"}, {"kind": "post-port"}],
        "trace": {"path": "killed.arrow", "inputs": True, "full": "wait"},
    }
    (tmp_path / "killed.toml").write_text(tomli_w.dumps(spec))
    command = [sys.executable, "-m", "runner.cli", str(tmp_path / "killed.toml")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stream = table_stream_path(tmp_path / "killed.arrow", "dma")
    eventually(lambda: stream.exists() and stream.stat().st_size > 20_000, "no rows of DMA")
    yield process
    process.kill()
    process.wait()


def test_a_killed_vmrun_leaves_a_recording(running, tmp_path):
    recorder = recorder_of(running)
    running.kill()
    eventually(lambda: gone(recorder), "the recorder is still there")
    path = tmp_path / "killed.arrow"
    recording = Recording.of(path)
    assert recording.end == "killed"
    assert len(list(recording.dma)) > 10
    found = replay(recording, Given.replayed(path, (), (), lambda text: None).plan, None, lambda: False)
    assert (found.mismatch, found.exits) == (None, found.recorded)


def test_if_both_are_killed_the_table_can_be_recovered(running, tmp_path, capsys):
    recorder = recorder_of(running)
    running.send_signal(signal.SIGSTOP)  # it would end the run, and remove nothing
    os.kill(recorder, signal.SIGKILL)
    running.kill()
    running.wait()
    out = tmp_path / "recovered.arrow"
    assert vmtrace(["recover", str(tmp_path / "killed.arrow"), "--output", str(out)]) == 0, capsys.readouterr().err
    table = tracer.load(out).tables.need("dma")
    assert table.table.num_rows > 10
    assert not table.complete
    with pytest.raises(tracer.TraceError, match="not complete"):
        Recording.of(out)
