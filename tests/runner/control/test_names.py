"""Names of machines: their folder, their files, and who has one."""

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.control.errors import ControlError
from runner.control.names import LONGEST, Names, file_name, fitting, folder


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = Names()
    yield made
    made.close()


def die(names, name):
    """Leave what a machine leaves that is killed: a socket where nobody listens."""
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(names.path / file_name(name)))


def test_the_folder_is_in_the_users_runtime_directory(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/somewhere")
    assert folder() == Path("/run/somewhere/vmrun")


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_the_folder_without_a_runtime_directory(value, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # has no folder in /run/user
    assert folder() == Path("/tmp/vmrun-54321/control")


def test_folder_and_socket_are_the_users_alone(names):
    assert stat.S_IMODE(names.path.stat().st_mode) == 0o700
    listener = names.claim("guest")
    assert stat.S_IMODE((names.path / "guest.sock").stat().st_mode) == 0o600
    listener.close()
    assert list(names) == []


def test_a_folder_that_others_can_enter_is_closed_to_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "vmrun").mkdir()
    (tmp_path / "vmrun").chmod(0o777)
    Names().close()
    assert stat.S_IMODE((tmp_path / "vmrun").stat().st_mode) == 0o700


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/tmp"), lambda path: path.write_text("")])
def test_a_folder_that_is_none_is_not_used(make, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    make(tmp_path / "vmrun")
    with pytest.raises(OSError, match="not a folder of yours"):
        Names()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
@example("\udcff")  # a byte of the command line that is no UTF-8
def test_a_name_is_a_file_name_of_its_own(name):
    if len(quote(name, errors="surrogateescape")) > LONGEST:
        with suppress(ControlError):  # some of the quoted characters need not be
            file_name(name)
        name = fitting(name)
    file = file_name(name)
    assert file_name(fitting(name) + "-999")
    assert "/" not in file
    assert not file.startswith(".")
    assert len(file) <= 255


def test_a_surrogate_that_stands_for_no_byte_is_refused():
    with pytest.raises(ControlError, match="is no text: give another name"):
        file_name("a\ud800")


def test_a_name_is_needed():
    with pytest.raises(ControlError, match="is empty"):
        file_name("")


@pytest.mark.parametrize("name", ["guest", "x" * LONGEST, "Debian 12", "a/b", "..", ".hidden", "café", "\udcff", "%2E"])
def test_any_name_can_be_claimed_and_is_listed(names, name):
    listener = names.claim(name)
    assert list(names) == [name]
    listener.close()


def test_a_name_is_claimed_once(names):
    listener = names.claim("guest")
    with pytest.raises(ControlError, match=rf"'guest' is in use by process {os.getpid()}: .*--name") as caught:
        names.claim("guest")
    assert caught.value.kind == "name"
    listener.close()
    names.claim("guest").close()


def test_a_name_whose_clients_all_wait_is_in_use(names):
    listener = names.claim("guest")
    clients = []
    while True:
        try:
            clients.append(names.connected("guest"))
        except BlockingIOError:
            break
    with pytest.raises(ControlError, match="in use by another process"):
        names.claim("guest")
    for client in clients:
        client.close()
    listener.close()


def test_machines_of_one_name_are_numbered(names):
    claimed = [names.claim_like("guest") for _ in range(3)]
    assert [name for name, _ in claimed] == ["guest", "guest-2", "guest-3"]
    claimed[1][1].close()
    name, listener = names.claim_like("guest")
    assert name == "guest-2"
    for each in (claimed[0][1], claimed[2][1], listener):
        each.close()


def test_the_socket_of_a_dead_machine_is_replaced(names):
    die(names, "guest")
    listener = names.claim("guest")
    end = names.connected("guest")
    assert end is not None
    end.close()
    listener.close()


def test_the_socket_of_a_dead_machine_is_removed(names):
    die(names, "dead")
    listener = names.claim("alive")
    assert (names.clear("dead"), names.clear("alive"), names.clear("none")) == (True, False, False)
    assert list(names) == ["alive"]
    listener.close()


def test_nobody_claims_or_clears_while_another_process_does(names):
    die(names, "dead")
    lock = os.open(names.path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert not names.clear("dead")
    with pytest.raises(BlockingIOError):
        names.claim("guest", wait=0)
    os.close(lock)
    assert names.clear("dead")


def test_a_path_may_be_longer_than_an_address(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 200)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    names = Names()
    names.claim("guest").close()
    names.close()


def test_nothing_stays_open(names, descriptors):
    before = descriptors()
    names.claim("guest").close()
    die(names, "dead")
    names.clear("dead")
    assert names.connected("none") is None
    assert descriptors() == before
