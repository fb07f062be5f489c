"""One file with two uses, under any names."""

import os
import socket
from pathlib import Path

import pytest

from vmspec import SpecError
from vmspec.document import Document
from vmspec.spec.fileuse import Use, conflicts, identity, opened

SPEC = """\
[vm]
name = "x"
memory = "1MiB"
[boot]
mode = "real"
kernel = "k"
[[device]]
kind = "serial"
"""


@pytest.fixture
def folder(tmp_path):
    """A spec and its kernel with other names: s and h are the spec, ks and kh the kernel, d is the folder."""
    (tmp_path / "x.toml").write_text(SPEC)
    (tmp_path / "k").write_bytes(b"\xf4")
    (tmp_path / "s").symlink_to("x.toml")
    (tmp_path / "ks").symlink_to("k")
    (tmp_path / "d").symlink_to(".")
    (tmp_path / "h").hardlink_to(tmp_path / "x.toml")
    (tmp_path / "kh").hardlink_to(tmp_path / "k")
    (tmp_path / "later").symlink_to("t.arrow")  # dangling
    (tmp_path / "crash").symlink_to("t.crash.txt")
    (tmp_path / "m.py").touch()
    return tmp_path


def problems(folder: Path, *overrides: str) -> list[str]:
    try:
        Document.open(folder / "x.toml", overrides).spec()
    except SpecError as error:
        return [f"{problem.path}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        *(((f"device[0].output={name}",), "this spec") for name in ("x.toml", "s", "h", "d/x.toml", "d/d/h")),
        *(((f"device[0].output={name}",), "boot.kernel") for name in ("k", "ks", "kh", "d/k")),
        *(((f"trace.path={name}",), "this spec") for name in ("s", "h", "d/x.toml")),
        *(((f"trace.path={name}",), "boot.kernel") for name in ("ks", "kh", "d/kh")),
        (("boot.initrd=t.arrow", "trace.path=later"), "boot.initrd"),
        (("boot.symbols=d/t.arrows", "trace.path=t.arrow"), "boot.symbols"),
        (("boot.symbols=t.killed.ring", "trace.path=t.arrow"), "boot.symbols"),
        (("device[0].output=crash", "trace.path=t.arrow"), "device[0].output"),
        (("device[0].input=d/log", "device[0].output=log"), "device[0].input"),
        (
            ('device=[{kind="python", class="m:C", port=[1, 1]}, {kind="serial", output="d/m.py"}]',),
            "device[0].class",
        ),
        (('device=[{kind="virtio-net", capture="n"}, {kind="virtio-net", capture="d/n"}]',), "device[0].capture"),
        (('device=[{kind="virtio-vsock", path="wire"}, {kind="virtio-net", listen="d/wire"}]',), "device[0].path"),
        (('device=[{kind="virtio-net", capture="later"}]', "trace.path=t.arrow"), "device[0].capture"),
        (('device=[{kind="virtio-net", capture="d/kh"}]',), "boot.kernel"),
        (('device=[{kind="serial", output="d/new/x"}, {kind="debug-port", output="new/x"}]',), "device[0].output"),
    ],
)  # fmt: skip
def test_whatever_leads_to_one_file_is_found(folder, overrides, what):
    (problem,) = problems(folder, *overrides)
    assert problem.endswith(f"is {what} too, and would be overwritten")


@pytest.mark.parametrize(
    "overrides",
    [
        ("device[0].output=log", "trace.path=t.arrow"),
        ("boot.initrd=ks",),  # both are read
        ("device[0].output=/dev/null", "device[0].input=/dev/null"),
        ('device=[{kind="serial", output="/dev/null"}, {kind="debug-port", output="/dev/null"}]',),
        ("trace.path=later",),
    ],
)
def test_other_files_may_be_used(folder, overrides):
    assert problems(folder, *overrides) == []


def test_files_of_one_recording_that_are_one(folder):
    (folder / "t.arrow").touch()
    (folder / "t.crash.txt").symlink_to("t.arrow")
    assert problems(folder, "trace.path=t.arrow") == [
        "trace.path: t.crash.txt is t.arrow too, and would be overwritten"
    ]


def test_a_pipe_is_one_file_too(folder):
    os.mkfifo(folder / "pipe")
    assert problems(folder, "device[0].input=pipe", "device[0].output=d/pipe") == [
        "device[0].output: pipe is device[0].input too, and would be overwritten"
    ]


def test_what_is_open_is_what_its_path_leads_to(folder):
    with (folder / "s").open() as file:
        assert opened(file.fileno()) == identity(folder / "h")
        assert identity(Path(f"/proc/self/fd/{file.fileno()}")) == identity(folder / "x.toml")


def test_a_terminal_takes_any_number_of_uses():
    master, slave = os.openpty()
    try:
        assert opened(slave) is None
    finally:
        os.close(master)
        os.close(slave)


def test_a_socket_is_read_and_written():
    ends = socket.socketpair()
    assert opened(ends[0].fileno()) is None
    for end in ends:
        end.close()


@pytest.mark.parametrize("name", ["loop", "none/../x", "x.toml/under", "n" * 300, "\0"])
def test_names_that_lead_nowhere(folder, name):
    (folder / "loop").symlink_to("loop")
    path = folder / name
    assert identity(path) == identity(path)
    assert list(conflicts([Use("a", path, identity(path), True), Use("b", path, identity(path), False)]))
