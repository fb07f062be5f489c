"""Debian's own socket driver and vmrun's device, in the lab: a program in the guest and programs of the host."""

import hashlib
import json
import re

import pytest

import tracer
from tests.guests import debian

pytestmark = [pytest.mark.lab, pytest.mark.stay("beside")]

SIZE = 4 << 20
BACK = bytes(range(256)) * 4096
ECONNRESET = 104


@pytest.fixture(scope="module")
def found(lab):
    """What inside/sockets.py has found, with the console."""
    folder = lab.beside("sockets")
    found = json.loads((folder / "sockets.json").read_text())
    return found | {"console": (folder / "console").read_bytes(), "log": (folder / "log").read_text()}


@pytest.fixture(scope="module")
def example(lab):
    """The folder of the example."""
    return lab.beside("vsock")


def test_the_guest_ends_as_its_spec_expects(found):
    assert (found["status"], found["left"]) == (0, False), found["log"]


def test_what_the_guest_sends_arrives_whole(found):
    seed, sent = 1, bytearray()
    for _ in range(SIZE):
        seed = (seed * 1103515245 + 12345) & 0xFFFFFFFF
        sent.append(seed >> 16 & 0xFF)
    assert found["sent"] == [SIZE, hashlib.sha256(sent).hexdigest()]


def test_what_the_host_sends_arrives_whole(found):
    value = 2166136261
    for byte in BACK:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    assert re.search(rb"vsock: received (\d+) (\w+)", found["console"]).groups() == (
        str(len(BACK)).encode(),
        f"{value:08x}".encode(),
    )


def test_the_host_calls_the_guest(found):
    assert found["back"] == hashlib.sha256(BACK).hexdigest()


def test_a_port_where_nobody_listens_is_refused(found):
    assert re.search(rb"vsock: refused (\d+)", found["console"])[1] == str(ECONNRESET).encode()


def test_the_example_does_what_its_readme_says(example):
    log = (example / "example.log").read_text()
    assert (example / "example.status").read_text().strip() == "0", log
    release = debian.kernel("6.1-cloud").release
    assert (example / "host.txt").read_text().splitlines() == [
        "host: the guest says: hello from the guest",
        f"host: the guest answers: welcome to Linux {release}",
    ]
    assert "hello from the host" in (example / "example.console").read_text()
    rows = tracer.load(example / "vsock.arrow").tables["requests"].table.to_pylist()
    assert {row["kind"] for row in rows if row["device"] == "virtio-vsock0"} == {"transmit", "receive"}
