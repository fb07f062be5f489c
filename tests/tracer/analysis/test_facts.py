"""The facts of a trace."""

import json
import re

import pytest

from tests.fakes.tracefakes import numbered, record_all
from tracer import load
from tracer.analysis.facts import facts
from tracer.analysis.kicks import unrecorded
from tracer.cli import main
from tracer.read.metadata import silent, unseen
from vmspec.trace import keys


@pytest.fixture
def path(tmp_path):
    records = [[numbered(vcpu, number) for number in range(4)] for vcpu in range(2)]
    record_all(tmp_path / "boot.arrow", records, summary={"rows": [4, 4], "dropped": [0, 0], "duration_ns": 5000})
    return tmp_path / "boot.arrow"


def test_facts(path):
    found = facts(load(path))
    assert found["trace"]["rows"] == 8
    assert found["trace"]["bytes_per_exit"] == round(path.stat().st_size / 8, 2)
    assert (found["trace"]["first_ns"], found["trace"]["last_ns"]) == (0, 3300)
    assert found["complete"]["why"] == "closed by its run, nothing dropped"
    assert found["run"]["name"] == "fake"
    assert found["run"]["vcpus"] == {"0": 4, "1": 4}
    assert found["host"] == {"kernel": "6.1"}
    assert found["clock"]["tsc_khz"] == 2_999_999
    assert found["spec"] == {"vm": {"name": "fake"}}


@pytest.mark.parametrize(
    ("summary", "why"),
    [
        ({"rows": [4], "dropped": [1]}, "exits were dropped"),
        ({"rows": [9]}, "the run recorded 9 exits, the file has 4"),
        ({"complete": False}, "its closing summary marks it as incomplete"),
        ({"complete": False, "recovered": {}}, "recovered"),
    ],
)
def test_why_something_is_missing(tmp_path, summary, why):
    record_all(tmp_path / "boot.arrow", [[numbered(0, number) for number in range(4)]], summary=summary)
    assert why in facts(load(tmp_path / "boot.arrow"))["complete"]["why"]


def spec_of(*devices):
    return "".join(f'[[device]]\nkind = "{kind}"\nnotify = "{notify}"\n' for kind, notify in devices)


@pytest.mark.parametrize(("metadata", "found"), [
    ({}, ()),
    ({keys.SPEC: "device = 1"}, ()),
    ({keys.SPEC: "device = [{kind = 1, notify = 'ioeventfd'}, {notify = 'ioeventfd'}]"}, ()),
    ({keys.SPEC: spec_of(("virtio-blk", "exit"), ("virtio-net", "ioeventfd"), ("virtio-blk", "ioeventfd"))},
     ("virtio-net0", "virtio-blk1")),
    ({keys.MERGED: json.dumps([{"name": name, "metadata": {keys.SPEC: spec_of(("virtio-blk", notify))}}
                               for name, notify in (("a", "exit"), ("b", "ioeventfd"))])}, ("b/virtio-blk0",)),
])  # fmt: skip
def test_devices_whose_notifications_are_no_exits(metadata, found):
    assert silent(metadata) == found


SPEC = """
device = [{kind = "virtio-blk", format = "raw"}, {kind = "virtio-fs"}, {kind = "virtio-blk", format = "qcow2"},
          {kind = "vhost-user"}, {kind = "virtio-blk"}]
"""


def test_devices_whose_requests_have_no_rows(path, tmp_path):
    assert unseen({keys.SPEC: SPEC}) == ("virtio-fs0", "virtio-blk1", "vhost-user0")
    assert unseen({}) == unseen({keys.SPEC: spec_of(("virtio-blk", "exit"))}) == ()
    said = "the requests to virtio-fs0, virtio-blk1, vhost-user0 are not in the trace (another process serves them)"
    assert unrecorded({keys.SPEC: SPEC}) == said
    both = unrecorded({keys.SPEC: SPEC.replace('"raw"', '"raw", notify = "ioeventfd"')})
    assert both == f'the notifications of virtio-blk0 are not in the trace (notify = "ioeventfd"); {said}'


def test_the_length_goes_to_the_run_s_end(tmp_path):
    closing = {"complete": False, "stop_ns": [None], "start_ns": [1000], "open_ns": [7000]}
    record_all(tmp_path / "boot.arrow", [[numbered(0, 0)]], summary=closing)
    assert facts(load(tmp_path / "boot.arrow"))["run"]["duration_ns"] == 7000


def test_the_pauses(path, tmp_path, capsys):
    assert facts(load(path))["run"]["pauses"] == []
    assert main(["info", str(path)]) == 0
    assert "paused" not in capsys.readouterr().out
    closing = {"duration_ns": 90_000, "start_ns": [0], "stop_ns": [90_000], "pauses_ns": [[[7000, 8000], [9000, 9500]]]}
    record_all(tmp_path / "paused.arrow", [[numbered(0, 0)]], summary=closing)
    times = [{"t_ns": 7000, "time_ns": 1000}, {"t_ns": 9000, "time_ns": 500}]
    assert facts(load(tmp_path / "paused.arrow"))["run"]["pauses"] == times
    assert main(["info", str(tmp_path / "paused.arrow")]) == 0
    assert re.search(r"^paused +2 times, 1\.50 us in all$", capsys.readouterr().out, re.MULTILINE)


def test_no_exits(tmp_path, capsys):
    record_all(tmp_path / "boot.arrow", [[]])
    assert facts(load(tmp_path / "boot.arrow"))["trace"]["bytes_per_exit"] is None
    assert main(["info", str(tmp_path / "boot.arrow")]) == 0


def test_as_json(path, capsys):
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["duration_ns"] == 5000
