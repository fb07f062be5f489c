"""What network devices made of their frames, in each command that tells of it."""

import json

import pytest

from tests.fakes.requestfakes import request, write_requests
from tests.fakes.tracefakes import exit_, record_all
from tracer import load
from tracer.analysis.frames import by_device, counted
from tracer.analysis.merge import merge
from tracer.cli import main
from vmspec.trace.frames import COUNTS, DROPPED

FRAMES = {
    "virtio-net0": {"received": 1_234, "sent": 900, "unfit": 3, "malformed": 2, "a newer version's": 9},
    "virtio-net1": {"received": 5},
}
NONE = dict.fromkeys(COUNTS, 0)
FIRST = NONE | {"received": 1_234, "sent": 900, "unfit": 3, "malformed": 2}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "boot.arrow"
    record_all(path, [[exit_(0)]], summary={"duration_ns": 5_000, "frames": FRAMES})
    write_requests(path, [request(0, 1, 2)])
    return path


def test_every_count_of_every_device(path):
    assert counted(load(path)) == {"virtio-net0": FIRST, "virtio-net1": NONE | {"received": 5}}
    first, second = by_device(load(path)).to_pylist()
    assert first == {"device": "virtio-net0", **FIRST, "dropped": 5}
    assert second["dropped"] == 0


def test_io(path, capsys):
    assert main(["io", str(path)]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["device", "received", "sent", "dropped", *DROPPED] in lines
    assert ["virtio-net0", "1,234", "900", "5", "2", "0", "0", "3", "0", "0"] in lines
    assert main(["io", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"][0] == {"device": "virtio-net0", **FIRST, "dropped": 5}


def test_info(path, capsys):
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "frames virtio-net0  1,234 received, 900 sent, 5 dropped (2 malformed, 3 unfit)\n" in out
    assert "frames virtio-net1  5 received, 0 sent, none dropped\n" in out
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["frames"]["virtio-net0"] == {**FIRST, "dropped": 5}


def test_the_summary_tells_of_dropped_frames_alone(path, capsys):
    assert main(["summary", str(path)]) == 0
    out = capsys.readouterr().out
    assert "- virtio-net0: frames 1,234 received, 900 sent, 5 dropped (2 malformed, 3 unfit).\n" in out
    assert "virtio-net1" not in out
    assert main(["summary", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"][0] == {"device": "virtio-net0", **FIRST, "dropped": 5}


def test_a_merged_trace_has_the_devices_of_each_machine(path, tmp_path):
    other = tmp_path / "other.arrow"
    record_all(other, [[exit_(0)]], summary={"duration_ns": 5_000})
    merge([load(path), load(other)], tmp_path / "out.arrow")
    assert {device: counts["sent"] for device, counts in counted(load(tmp_path / "out.arrow")).items()} == {
        "boot/virtio-net0": 900,
        "boot/virtio-net1": 0,
    }


def test_without_a_network_device_no_word_of_frames(tmp_path, capsys):
    path = tmp_path / "boot.arrow"
    record_all(path, [[exit_(0)]])
    write_requests(path, [request(0, 1, 2)])
    for command in ("io", "info", "summary"):
        assert main([command, str(path)]) == 0
        assert "frames" not in capsys.readouterr().out
