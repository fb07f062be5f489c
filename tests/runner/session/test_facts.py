"""A trace has enough facts to repeat its run."""

import hashlib
import json

import pytest

import tracer
import vmspec
from runner import run

pytestmark = pytest.mark.kvm

HLT = "f4"
NEIGHBOUR = "VALUE = 7\n"
PACKAGE = "from helper import VALUE\nOTHER = VALUE\n"
DEVICE = """\
from pathlib import Path
from helper import VALUE
import parts.more
from runner.devices import Device

class Square(Device):
    def read(self, region, offset, size):
        return VALUE

# By now this file, and what it imports, have been read: what comes after is not what runs.
HERE = Path(__file__).parent
for name in ("square.py", "helper.py"):
    (HERE / name).write_text("# changed\\n")
"""


def images(path):
    return json.loads(tracer.load(path).metadata["vmrun.images"])


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_modules_are_hashed_as_they_were_loaded(run_guest, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "more.py").write_text(PACKAGE)
    device = {"kind": "python", "class": "square:Square", "port": [0x100, 1]}
    result = run_guest(HLT, devices=[device], files={"square.py": DEVICE, "helper.py": NEIGHBOUR})
    found = images(result.trace)
    assert {name: image["sha256"] for name, image in found.items() if name != "code"} == {
        "python0/square.py": sha256(DEVICE),
        "python0/helper.py": sha256(NEIGHBOUR),
        "python0/parts/__init__.py": sha256(""),
        "python0/parts/more.py": sha256(PACKAGE),
    }
    assert found["python0/square.py"]["path"] == str(tmp_path / "square.py")


def test_files_that_the_run_reads_are_hashed(write_spec, tmp_path):
    files = {"map": "0000000000001000 T start\n0000000000002000 T end\n", "typed": "input\n"}
    path = write_spec(HLT, files=files, devices=[{"kind": "serial", "input": "typed"}])
    (tmp_path / "k").write_bytes(bytes.fromhex(HLT))
    path.write_text(path.read_text().replace('code = "f4"', 'kernel = "k"\nsymbols = "map"'))
    found = images(run(path).trace)
    assert {name: image["sha256"] for name, image in found.items()} == {
        "kernel": hashlib.sha256(b"\xf4").hexdigest(),
        "symbols": sha256(files["map"]),
        "serial0/input": sha256(files["typed"]),
    }


REPLACE = """\
from pathlib import Path
from runner.devices import Device

class Replace(Device):
    def write(self, region, offset, size, value):
        here = Path(__file__).parent
        (here / "new").write_bytes(b"another kernel")
        (here / "new").rename(here / "k")
"""


def test_a_kernel_that_is_replaced_while_it_runs_has_the_hash_of_what_was_loaded(write_spec, tmp_path):
    device = {"kind": "python", "class": "replace:Replace", "port": [0x80, 1]}
    path = write_spec(HLT, files={"replace.py": REPLACE}, devices=[device])
    kernel = bytes.fromhex(f"e6 80 {HLT}")
    (tmp_path / "k").write_bytes(kernel)
    path.write_text(path.read_text().replace('code = "f4"', 'kernel = "k"'))
    found = images(run(path).trace)["kernel"]
    assert (tmp_path / "k").read_bytes() == b"another kernel"
    assert found == {"path": str(tmp_path / "k"), "sha256": hashlib.sha256(kernel).hexdigest()}


def test_a_stored_spec_does_not_record_over_its_trace(write_spec, tmp_path):
    path = write_spec(HLT)
    first = run(path, overrides=["vm.memory=2MiB", f"trace.path={tmp_path}/first.arrow"])
    assert first.trace is not None
    before = first.trace.read_bytes()
    metadata = tracer.load(first.trace).metadata
    (tmp_path / "again.toml").write_text(metadata["vmrun.spec"])
    again = run(tmp_path / "again.toml", overrides=json.loads(metadata["vmrun.overrides"]))
    assert (again.kind, again.trace, first.trace.read_bytes()) == ("halt", None, before)
    assert vmspec.load(tmp_path / "again.toml").vm.memory == 2 << 20
