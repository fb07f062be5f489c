"""Files on their way to a worker: there whole and with the right hash, or not at all."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.campaign.cluster import remote, transfer
from runner.campaign.cluster.images import Arrival, find
from runner.campaign.cluster.parcel import File
from vmspec.bundle.store import Content


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vmrun" / "images"


def content(data):
    return Content(len(data), hashlib.sha256(data).hexdigest())


def elsewhere(data, folder):
    """A file of another host."""
    return File(folder / "not" / "here", content(data))


class Here:
    """A connection whose worker is this process."""

    def __init__(self):
        self.calls = []

    def call(self, worker, function, *arguments):
        self.calls.append(function)
        return function(*arguments)


def test_a_file_that_the_worker_sees_is_not_sent(store, tmp_path):
    (tmp_path / "k").write_bytes(b"\xf4")
    assert find(File(tmp_path / "k", content(b"\xf4"))) == tmp_path / "k"
    assert find(File(tmp_path / "k", content(b"\xf5"))) is None
    assert [*store.iterdir()] == []


@given(st.lists(st.binary(min_size=1, max_size=20) | st.integers(1, 9000), max_size=6))
def test_any_file_arrives_in_its_pieces(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(transfer, "PIECE", 7)
        data = b"".join(part if isinstance(part, bytes) else bytes(part) for part in parts)
        with (folder / "k").open("wb") as file:
            for part in parts:
                file.write(part) if isinstance(part, bytes) else file.seek(part, 1)
            file.truncate(len(data))
        here, file = Here(), File(folder / "k", content(data))
        transfer.send(here, "worker", file)
        arrived = find(elsewhere(data, folder))
        assert arrived == folder / "vmrun" / "images" / file.content.sha256
        assert arrived.read_bytes() == data
        transfer.send(here, "worker", file)  # once is enough
        assert here.calls.count(remote.lacks) == 2
        assert here.calls[-1] is remote.lacks


def test_a_file_with_another_hash_is_not_kept(store):
    with pytest.raises(OSError, match="arrived with another hash"):
        Arrival(content(b"abc")).add(b"abd")
    assert [*store.iterdir()] == []


def test_half_a_file_is_not_kept_and_the_next_one_begins_anew(store, tmp_path):
    wanted = content(b"abcdef")
    remote.receive(wanted, True, b"abc")
    assert (find(elsewhere(b"abcdef", tmp_path)), [*store.iterdir()]) == (None, [])
    remote.receive(wanted, True, b"abcd")
    remote.receive(wanted, False, b"ef")
    assert find(elsewhere(b"abcdef", tmp_path)).read_bytes() == b"abcdef"


def test_a_stored_file_that_was_changed_is_not_used(store, tmp_path):
    remote.receive(content(b"abc"), True, b"abc")
    (store / content(b"abc").sha256).write_bytes(b"abd")
    assert find(elsewhere(b"abc", tmp_path)) is None
    assert remote.lacks(content(b"abc"))
