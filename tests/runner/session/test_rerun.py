"""Runs of what a trace recorded, on the host's KVM."""

import shutil
from pathlib import Path

import pytest

import tracer
from runner import run
from runner.cli import main
from vmspec import SpecError
from vmspec.cli import main as vmspec

pytestmark = pytest.mark.kvm

# in al, 0x80; out 0xe9, al; hlt: what the device in Python answers goes to the debug port
CODE = "e4 80 e6 e9 f4"
SQUARE = "from helper import VALUE\nfrom runner.devices import Device\n"
SQUARE += "class Square(Device):\n    def read(self, region, offset, size):\n        return VALUE * VALUE\n"
DEVICES = [
    {"kind": "python", "class": "square:Square", "port": [0x80, 1]},
    {"kind": "debug-port", "output": "log"},
    {"kind": "virtio-blk", "path": "disk.img", "mode": "rw"},
]


@pytest.fixture
def trace(write_spec, tmp_path, monkeypatch):
    """The trace of a run, in an empty folder; what it ran is in the folder "made"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = tmp_path / "made"
    spec = write_spec(CODE, devices=DEVICES, files={"square.py": SQUARE, "helper.py": "VALUE = 8\n"})
    (tmp_path / "disk.img").write_bytes(b"disk".ljust(1024, b"\0"))
    (tmp_path / "k").write_bytes(bytes.fromhex(CODE))
    spec.write_text(spec.read_text().replace(f'code = "{CODE}"', 'kernel = "k"'))
    assert run(spec, overrides="vm.memory=2MiB").kind == "halt"
    made.mkdir()
    for name in ("k", "disk.img", "square.py", "helper.py", "guest.toml", "log"):
        (tmp_path / name).rename(made / name)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return (tmp_path / "guest.arrow").rename("boot.arrow")


def test_a_trace_is_run_again_with_images_of_other_folders(trace, tmp_path, capsys):
    assert main(["boot.arrow", "--images", str(tmp_path / "made")]) == 0
    err = capsys.readouterr().err
    assert "vmrun: halt after" in err
    assert "not recorded (to record: --trace FILE" in err
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.name != "boot.arrow"} == {"log": b"@"}


def test_the_run_is_the_same(trace, tmp_path):
    run("boot.arrow", images=[tmp_path / "made"], overrides="trace.path=again.arrow")
    first, second = (tracer.load(name) for name in ("boot.arrow", "again.arrow"))
    columns = ["reason", "addr", "data"]
    assert first.to_pandas()[columns].equals(second.to_pandas()[columns])
    assert second.spec["vm"]["memory"] == "2MiB"


def test_what_differs_is_told_and_locked_refuses_it(trace, tmp_path, capsys):
    arguments = ["boot.arrow", "--images", str(tmp_path / "made"), "--set", "vm.memory=4MiB"]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert "vmrun: differs from the lock: boot.arrow/vmrun.lock:" in err
    assert 'spec.vm.memory: was "2MiB", is "4MiB"' in err
    assert main([*arguments, "--locked"]) == 2
    assert "vmrun: boot.arrow/vmrun.lock:" in capsys.readouterr().err


def test_images_that_are_not_found_end_it(trace, capsys):
    assert main(["boot.arrow"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert {line.split(": ")[2] for line in err} == {
        "images.kernel", 'images."virtio-blk0/path"', 'images."python0/helper.py"', 'images."python0/square.py"'
    }  # fmt: skip
    assert [path.name for path in Path().iterdir()] == ["boot.arrow"]


def test_the_trace_is_not_overwritten(trace, tmp_path, capsys):
    before = Path("boot.arrow").read_bytes()
    assert main(["boot.arrow", "--images", str(tmp_path / "made"), "--trace", "boot.arrow"]) == 2
    assert ("would be overwritten" in capsys.readouterr().err, Path("boot.arrow").read_bytes()) == (True, before)


def test_a_trace_of_a_bundles_run(trace, tmp_path):
    assert vmspec(["bundle", str(tmp_path / "made/guest.toml")]) == 0
    shutil.rmtree(tmp_path / "made")
    assert run("guest.vmz", overrides="trace.path=other.arrow").kind == "halt"
    Path("log").unlink()
    assert (run("other.arrow").kind, Path("log").read_bytes()) == ("halt", b"@")


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"[vm]\n"])
def test_what_is_no_trace(tmp_path, capsys, content):
    path = tmp_path / "x.arrow"
    path.write_bytes(content)
    assert main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_a_spec_has_no_images_to_look_for(write_spec):
    with pytest.raises(SpecError, match="is not a trace, and --images is for traces only"):
        run(write_spec("f4"), images=["."])
