"""Runs of bundles, on the host's KVM."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from runner import run, signals
from runner.cli import main
from runner.session.given import Given
from runner.session.session import Session
from vmspec import SpecError
from vmspec.bundle import store
from vmspec.cli import main as vmspec
from vmspec.host.scratch import discard
from vmspec.lock.text import LockText

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).parents[3]
# in al, 0x80; out 0xe9, al; hlt: what the device in Python answers goes to the debug port
CODE = "e4 80 e6 e9 f4"
SQUARE = "from helper import VALUE\nfrom runner.devices import Device\n"
SQUARE += "class Square(Device):\n    def read(self, region, offset, size):\n        return VALUE * VALUE\n"
DEVICES = [
    {"kind": "python", "class": "parts.square:Square", "port": [0x80, 1]},
    {"kind": "debug-port", "output": "log"},
    {"kind": "virtio-blk", "path": "disk.img", "mode": "rw"},
]
OUTPUTS = {"log", "guest.arrow", "guest.requests.arrow"}


@pytest.fixture
def bundle(write_spec, tmp_path, monkeypatch):
    """A bundle in an empty folder, with an empty cache. The files that it was made of are gone."""
    made = tmp_path / "made"
    spec = write_spec(CODE, devices=DEVICES)
    made.mkdir()
    (made / "parts").mkdir()
    (made / "parts/square.py").write_text(SQUARE)
    (made / "parts/helper.py").write_text("VALUE = 8\n")
    (made / "disk.img").write_bytes(b"disk".ljust(1024, b"\0"))
    (made / "k").write_bytes(bytes.fromhex(CODE))
    text = spec.read_text()
    assert f'code = "{CODE}"' in text
    (made / "guest.toml").write_text(text.replace(f'code = "{CODE}"', 'kernel = "k"'))
    spec.unlink()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert vmspec(["bundle", str(made / "guest.toml"), "-o", str(tmp_path / "boot.vmz")]) == 0
    shutil.rmtree(made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "boot.vmz"


def unpacked(bundle):
    """The folder of the only bundle in the cache."""
    (folder,) = (bundle.parent / "cache/vmrun/bundles").iterdir()
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_bundle_runs_where_nothing_else_is(bundle):
    notices = []
    result = run(bundle, notice=notices.append)
    assert (result.kind, Path("log").read_bytes()) == ("halt", b"@")
    assert (names(Path()), result.trace) == (OUTPUTS, Path("guest.arrow").absolute())
    assert any("writes to disk.img are discarded" in notice for notice in notices)


def test_its_trace_has_the_lock_of_the_bundle(bundle):
    run(bundle)
    recorded = LockText(tracer.load("guest.arrow").metadata["vmrun.lock"]).lock
    assert {name: bool(image.sha256) for name, image in recorded.images.items()} == {
        "kernel": True, "python0/parts/square.py": True, "python0/parts/helper.py": True, "virtio-blk0/path": True
    }  # fmt: skip


def test_its_folder_stays_in_the_cache_until_the_run_has_ended(bundle):
    given = Given.of(bundle, (), (), print)
    assert not discard(unpacked(bundle))
    assert Session(given, None, None, print).run().kind == "halt"
    assert discard(unpacked(bundle))


@pytest.mark.parametrize("wrong", ["boot.load=3", "expect.exits.device={ python0 = 5 }"])
def test_a_run_that_cannot_begin_needs_its_folder_no_more(bundle, wrong):
    with pytest.raises(SpecError):
        run(bundle, overrides=wrong, record=False)
    assert discard(unpacked(bundle))


def test_the_second_run_finds_it_unpacked(bundle, monkeypatch):
    assert run(bundle).kind == "halt"
    monkeypatch.setattr(store, "_stored", None)
    assert run(bundle).kind == "halt"


def test_a_disk_is_the_bundles_in_each_run(bundle):
    run(bundle)
    before = (unpacked(bundle) / "disk.img").stat()
    run(bundle)
    assert (unpacked(bundle) / "disk.img").stat() == before


def test_a_file_in_the_cache_that_was_changed_is_unpacked_again(bundle):
    run(bundle)
    for change in (lambda path: path.write_bytes(b"\xf4" * 5), lambda path: path.unlink()):
        change(unpacked(bundle) / "k")
        Path("log").unlink()
        assert (run(bundle).kind, Path("log").read_bytes()) == ("halt", b"@")
        assert (unpacked(bundle) / "k").read_bytes() == bytes.fromhex(CODE)


def test_others_that_can_write_to_the_cache_are_not_trusted(bundle):
    run(bundle)
    unpacked(bundle).chmod(0o777)
    assert run(bundle).kind == "halt"
    assert unpacked(bundle).stat().st_mode & 0o777 == 0o700


def test_what_differs_from_its_lock_is_not_run(bundle, capsys):
    assert main([str(bundle), "--set", "vm.memory=2MiB"]) == 2
    err = capsys.readouterr().err
    assert f"{bundle}/guest.toml.lock:" in err
    assert 'spec.vm.memory: was "1MiB", is "2MiB"' in err
    assert "the run differs from its lock; --unlocked runs it all the same" in err
    assert names(Path()) == set()


def test_unlocked_runs_it_and_says_what_differs(bundle, capsys):
    assert main([str(bundle), "--unlocked", "--set", "vm.memory=2MiB"]) == 0
    err = capsys.readouterr().err
    assert "vmrun: differs from the lock: " in err
    assert 'spec.vm.memory: was "1MiB", is "2MiB"' in err


def test_a_trace_may_go_anywhere(bundle, tmp_path):
    assert main([str(bundle), "--trace", str(tmp_path / "other.arrow")]) == 0
    assert ((tmp_path / "other.arrow").exists(), names(Path())) == (True, {"log"})


def test_a_file_of_the_users_replaces_one_of_the_bundles(bundle):
    Path("other").write_bytes(b"\xf4")
    assert run(bundle, unlocked=True, overrides="boot.kernel=other").console == b""


@pytest.mark.parametrize("override", ['device[2].mode="rw"', "trace.path={}/parts/x.arrow", "device[1].output={}/x"])
def test_no_run_writes_to_the_unpacked_files(bundle, override):
    run(bundle)
    with pytest.raises(SpecError, match="is a file that runs only read; to write to it, copy it"):
        run(bundle, unlocked=True, overrides=override.format(unpacked(bundle)))


def test_the_bundle_itself_is_not_overwritten(bundle, capsys):
    before = bundle.read_bytes()
    assert main([str(bundle), "--trace", str(bundle)]) == 2
    assert ("would be overwritten" in capsys.readouterr().err, bundle.read_bytes()) == (True, before)


def test_a_damaged_bundle_runs_nothing_and_leaves_nothing(bundle, capsys):
    data = bytearray(bundle.read_bytes())
    bundle.write_bytes(data[:-1])
    assert main([str(bundle)]) == 2
    assert capsys.readouterr().err == f"vmrun: {bundle}: is truncated at byte {len(data) - 1:,}\n"
    assert (names(Path()), (bundle.parent / "cache").exists()) == (set(), False)


def test_a_signal_ends_the_unpacking(bundle, monkeypatch):
    monkeypatch.setattr(signals, "asked", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        run(bundle)
    assert (names(Path()), names(bundle.parent / "cache/vmrun/bundles")) == (set(), set())


def test_what_a_killed_run_has_left_is_removed(bundle):
    home = bundle.parent / "cache/vmrun/bundles"
    home.mkdir(parents=True, mode=0o700)
    (home / ".vmz-left").mkdir()
    (home / ".vmz-left/k").write_bytes(b"half")
    (home / ".vmz-used").mkdir()
    other = os.open(home / ".vmz-used", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        assert run(bundle).kind == "halt"
        assert {name for name in names(home) if name.startswith(".")} == {".vmz-used"}
    finally:
        os.close(other)


def test_an_unbundled_folder_runs_and_its_disk_is_its_own(bundle):
    assert vmspec(["unbundle", str(bundle), "-o", "there"]) == 0
    assert run("there/guest.toml", locked=True).kind == "halt"
    assert (Path("there/log").read_bytes(), Path("there/guest.arrow").exists()) == (b"@", True)


def test_several_runs_may_unpack_it_at_once(bundle):
    command = [sys.executable, "-m", "runner.cli", str(bundle), "--json", "--set", "trace.path=x{}.arrow"]
    runs = [
        subprocess.Popen([*command[:-1], f"trace.path=x{n}.arrow"], stdout=subprocess.PIPE, cwd=cwd)
        for n, cwd in enumerate(map(folder, "abc"))
    ]
    assert [json.loads(each.communicate()[0])["kind"] for each in runs] == ["halt"] * 3
    assert len(names(bundle.parent / "cache/vmrun/bundles")) == 1


def folder(name):
    Path(name).mkdir()
    return name


CONTAINER = """
set -e
root=$1 bundle=$2 python=$3 packages=$4
shift 4
mount -t tmpfs none "$root"
cd "$root"
mkdir -p dev proc out tmp var/tmp
ln -s usr/bin usr/lib usr/lib64 .
for folder in "$packages" "$@"; do
    mkdir -p "./$folder"
    mount --rbind "$folder" "./$folder"
done
mount --bind /proc proc
touch dev/kvm
mount --bind /dev/kvm dev/kvm
cp "$bundle" out/
exec chroot . /bin/sh -c "cd /out && env -i PYTHONPATH=$packages $python -m runner.cli boot.vmz && cat log && ls"
"""


def test_it_runs_in_an_empty_root(bundle, tmp_path):
    """Only Python, vmrun, /dev/kvm and empty folders are there: no home, no cache, none of its files."""
    (tmp_path / "root").mkdir()
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in ("vmspec", "runner", "tracer"):
        shutil.copytree(ROOT / package, packages / package)
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no new mount namespace here")
    programs = ["/usr", *{sys.prefix, sys.base_prefix}]
    arguments = [tmp_path / "root", bundle, sys.executable, packages, *programs]
    done = subprocess.run(["unshare", "-m", "sh", "-c", CONTAINER, "sh", *arguments], capture_output=True, check=False)
    assert done.stdout.decode().split() == ["@boot.vmz", *sorted(OUTPUTS)], done.stderr.decode()
