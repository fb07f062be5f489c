"""Debian's own socket driver and vmrun's device, in the lab: a program in the guest and programs of the host."""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest

import tracer
from tests.guests import debian, initrd
from tests.lab.labruns import HERE, ROOT, stayed
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.stay("sockets")]

SIZE = 4 << 20
BACK = bytes(range(256)) * 4096
ECONNRESET = 104
EXAMPLE = ROOT / "examples" / "vsock"
# What sockets.py does, then the example as its README says; where sockets can be made.
SCRIPT = """
"$@" || exit
mkdir /run/example && cd /run/example && cp "$0"/host.py "$0"/vsock.toml "$0"/vmlinuz "$0"/initrd.img . || exit
python3 host.py >host.txt & host=$!
"$(dirname "$1")/vmrun" vsock.toml >example.console 2>example.log; echo $? >example.status
sleep 2; kill $host 2>/dev/null
cp host.txt example.* vsock.*arrow "$0"
"""


def prepare_example(directory):
    """Copy the example, and make it ready."""
    for name in ("host.py", "vsock.toml"):
        shutil.copy(EXAMPLE / name, directory)
    code = f"import sys; from pathlib import Path; sys.path[:0] = [{str(ROOT)!r}, {str(EXAMPLE)!r}]; "
    code += f"import prepare; prepare.prepare(Path({str(directory)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    Document.open(directory / "vsock.toml").plan()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What sockets.py has found, with the console."""
    directory = tmp_path_factory.mktemp("sockets")
    kernel = debian.kernel("6.1-cloud")
    program = directory / "init"
    subprocess.run(["cc", "-static", "-O1", "-o", program, HERE / "sockets.c"], check=True)
    modules = debian.modules(kernel, ("virtio_mmio", "vmw_vsock_virtio_transport"))
    entries = initrd.busybox(program.read_bytes())
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    image = kernel.bzimage.with_name("sockets-initrd.img")
    image.write_bytes(gzip.compress(initrd.archive(entries), mtime=0))
    spec = HERE / "sockets.toml"
    sets = (f"boot.kernel={kernel.bzimage}", f"boot.initrd={image}")
    Document.open(spec, sets).plan()  # unpacks the kernel into the cache, where the lab finds it
    prepare_example(directory)
    lab = ["--timeout", "10m", "--share", directory, "--", "sh", "-c", SCRIPT, directory]
    command = [sys.executable, HERE / "inside" / "sockets.py", directory, spec]
    command += [word for each in sets for word in ("--set", each)]
    stayed(*lab, *command)
    result = json.loads((directory / "sockets.json").read_text()) | {"directory": directory}
    return result | {"console": (directory / "console").read_bytes(), "log": (directory / "log").read_text()}


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


def test_the_example_does_what_its_readme_says(found):
    directory = found["directory"]
    log = (directory / "example.log").read_text()
    assert (directory / "example.status").read_text().strip() == "0", log
    release = debian.kernel("6.1-cloud").release
    assert (directory / "host.txt").read_text().splitlines() == [
        "host: the guest says: hello from the guest",
        f"host: the guest answers: welcome to Linux {release}",
    ]
    assert "hello from the host" in (directory / "example.console").read_text()
    rows = tracer.load(directory / "vsock.arrow").tables["requests"].table.to_pylist()
    assert {row["kind"] for row in rows if row["device"] == "virtio-vsock0"} == {"transmit", "receive"}
