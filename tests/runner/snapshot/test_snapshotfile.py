"""Files that are no snapshots of this vmrun: each is refused, and the error says why. tests/mutated has more."""

import errno
import json
import os
import zlib
from contextlib import closing

import pytest

from runner.snapshot.errors import SnapshotError
from runner.snapshot.restoring import Restoring
from runner.snapshot.snapshotfile import FORMAT, HEAD, MAGIC, Snapshot
from tests.mutated.snapshots import good
from vmspec.schema.problems import SpecError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.snapshot"
    good(path)
    return path


def contents(data):
    _, _, _, at, length = HEAD.unpack_from(data)
    return at, json.loads(data[at : at + length])


def sealed(data, changed):
    """A snapshot with other contents."""
    at, _ = contents(data)
    text = json.dumps(changed).encode()
    return HEAD.pack(MAGIC, FORMAT, zlib.crc32(text), at, len(text)) + data[HEAD.size : at] + text


def test_a_good_one_is_read(file):
    restoring = Restoring(file)
    assert restoring.plan.vm.name == "mutated"
    restoring.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "is not a snapshot of vmrun"),
        (lambda data: b"[vm]" + bytes(5000), "is not a snapshot of vmrun"),
        (lambda data: data[:20], "is damaged: it is cut off"),
        (lambda data: data[:-1], "is damaged: it is cut off"),
        (lambda data: data[:16] + b"\3" + data[17:], "is a snapshot of a newer vmrun, of format 3: this one reads 2"),
        (lambda data: data[:16] + b"\0" + data[17:], "is a snapshot of an older vmrun, of format 0"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "the CRC-32 of its contents is wrong"),
    ],
)
def test_what_is_none_is_refused(file, change, message):
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(SnapshotError, match=message):
        Snapshot(file)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("vcpus", 0, "msrs", 0, "number"), 1 << 40, "the state of its vCPUs is not that of its plan"),
        (("vcpus", 0, "msrs", 0, "value"), -1, "the state of its vCPUs is not that of its plan"),
        (("vcpus", 0, "parts", 0, "data"), "00", "the state of its vCPUs is not that of its plan"),
        (("vcpus",), [], "the state of its vCPUs is not that of its plan"),
        (("controllers",), None, "the state of its interrupt controllers is not that of its plan"),
        (("clocks", "kvmclock"), -1, "it has a time before any other"),
        (("memory", 0, "offset"), 1 << 40, "a part is past its end"),
        (("memory", 0, "size"), "4096", "memory"),
        (("memory", 0, "address"), 512, "a part of the memory does not begin with a page"),
        (("memory", 1, "address"), 4096, "the part for 0x1000 is not after that before it"),
        (("written",), [{"device": "x", "extents": []}] * 2, "it has the contents of a device twice"),
        (("plan", "vm"), 5, "plan.vm: must be an object"),
    ],
)
def test_contents_that_no_machine_has_are_refused(file, keys, value, message):
    data = file.read_bytes()
    _, changed = contents(data)
    *way, last = keys
    place = changed
    for key in way:
        place = place[key]
    place[last] = value
    file.write_bytes(sealed(data, changed))
    with pytest.raises(SnapshotError, match=message):
        Snapshot(file)


@pytest.mark.parametrize("call", ["open", "pread", "preadv"])
def test_a_disk_that_fails_is_named(file, monkeypatch, call):
    """While the file is opened, its contents are read, and its memory is."""

    def fails(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fails)
    failed = pytest.raises(SnapshotError, match=r"x\.snapshot cannot be read: Input/output error")
    with failed, closing(Snapshot(file)) as snapshot:
        snapshot.check(snapshot.contents.memory[0])


def test_a_trace_is_not_written_over_the_snapshot(file):
    with pytest.raises(SpecError, match="would be overwritten"):
        Restoring(file, (f"trace.path={file}",))
