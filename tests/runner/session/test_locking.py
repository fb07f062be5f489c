"""Runs that must be what was locked, on the host's KVM."""

import hashlib
import json
import os
from pathlib import Path

import pytest

import tracer
from runner import run, start
from runner.cli import main
from runner.kvm.system import System
from runner.session import hostfacts, locking
from tracer.cli import main as vmtrace
from vmspec import SpecError, kept
from vmspec.lock import table
from vmspec.lock.drift import compare
from vmspec.lock.taking import take
from vmspec.lock.text import LockText, write

pytestmark = pytest.mark.kvm

HLT = "f4"
PYTHON = [{"kind": "python", "class": "square:Square", "port": [0x100, 1]}]
SQUARE = "from helper import VALUE\nfrom runner.devices import Device\nclass Square(Device):\n    pass\n"
FILES = {"square.py": SQUARE, "helper.py": "VALUE = 7\n"}


def lock(path):
    """Write the lock of a spec, as vmspec lock does."""
    plan, _ = kept.plan(path, ())
    write(path.with_name(f"{path.name}.lock"), take(plan, hostfacts.facts(plan.cpu)).lock, path.name)
    return path


@pytest.fixture
def image(write_spec, tmp_path):
    """The spec of a guest whose code is a file, with a Python device and a disk; and its lock."""
    disk = {"kind": "virtio-blk", "path": "disk", "mode": "ro"}
    (tmp_path / "disk").write_bytes(bytes(1024))
    (tmp_path / "k").write_bytes(bytes.fromhex(HLT))
    log = {"kind": "serial", "output": "log", "input": "none"}
    path = write_spec(HLT, devices=[*PYTHON, disk, log], files=FILES)
    path.write_text(path.read_text().replace('code = "f4"', 'kernel = "k"'))
    return lock(path)


def refused(path, **options):
    """What a locked run is refused for, by name; nothing is left behind."""
    notices = []
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(SpecError) as caught:
        run(path, locked=True, notice=notices.append, **options)
    assert before == {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    assert "the run differs from its lock" in caught.value.problems[-1].message
    return [problem.path for problem in caught.value.problems[:-1]], notices


def test_a_run_that_was_locked_runs(image):
    assert run(image, locked=True).kind == "halt"
    with start(image, locked=True) as started:
        assert started.result(60).kind == "halt"


def as_cpuid(change):
    def patch(monkeypatch, folder):
        supported = System.supported_cpuid
        monkeypatch.setattr(System, "supported_cpuid", lambda self: [change(entry) for entry in supported(self)])

    return patch


def as_version(monkeypatch, folder):
    monkeypatch.setattr(table, "__version__", "9.9.9")


def as_file(name, data):
    return lambda monkeypatch, folder: (folder / name).write_bytes(data)


def as_text(old, new):
    def change(monkeypatch, folder):
        text = (folder / "guest.toml").read_text()
        assert old in text
        (folder / "guest.toml").write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (as_version, "vmrun"),
        (as_text('memory = "1MiB"', 'memory = "2MiB"'), "spec.vm.memory"),
        (as_file("k", b"\x90\xf4"), "images.kernel"),
        (as_file("disk", bytes(1023) + b"\1"), 'images."virtio-blk0/path"'),
        (as_file("square.py", SQUARE.encode() + b"\n"), 'images."python0/square.py"'),
        (as_file("helper.py", b"VALUE = 8\n"), 'images."python0/helper.py"'),
        (
            as_cpuid(lambda entry: entry._replace(ecx=entry.ecx ^ 1 << 20) if entry.function == 1 else entry),
            "host.must.cpuid.0x00000001 ecx",
        ),
        (
            as_cpuid(lambda entry: entry._replace(eax=entry.eax ^ 1) if entry.function == 0x80000004 else entry),
            "host.must.cpuid.0x80000004 eax",
        ),
    ],
    ids=["version", "spec", "kernel", "disk", "device", "import", "feature", "brand"],
)
def test_a_changed_input_is_named_exactly_and_nothing_runs(image, monkeypatch, tmp_path, change, name):
    change(monkeypatch, tmp_path)
    assert refused(image) == ([name], [])


def test_an_override_is_a_change_of_the_spec(image):
    assert refused(image, overrides="vm.vcpus=2") == (["spec.vm.vcpus"], [])


def test_whitespace_and_comments_are_no_drift(image):
    image.write_text("# a comment\n" + image.read_text().replace("=", "  =  "))
    assert run(image, locked=True, record=False).kind == "halt"


def test_where_it_is_recorded_is_no_drift(image, tmp_path):
    assert run(image, locked=True, overrides=f"trace.path={tmp_path}/other.arrow").kind == "halt"


def test_what_may_change_a_boot_is_a_notice(image, lacking):
    lacking("KVM_CAP_SYNC_REGS")
    notices = []
    assert run(image, locked=True, notice=notices.append).kind == "halt"
    (notice,) = notices
    assert notice.startswith(f"may change the boot: {image}.lock:")
    assert "host.may.capabilities.KVM_CAP_SYNC_REGS: was 7, is 0" in notice


def test_a_disk_that_the_guest_writes_to_is_a_notice(write_spec, tmp_path):
    (tmp_path / "disk").write_bytes(bytes(1024))
    path = lock(write_spec(HLT, devices=[{"kind": "virtio-blk", "path": "disk", "mode": "rw"}]))
    (tmp_path / "disk").write_bytes(b"\1" * 1024)
    notices = []
    assert run(path, locked=True, notice=notices.append).kind == "halt"
    assert ["the guest writes to it" in notice for notice in notices] == [True]


def test_a_spec_may_require_its_lock(write_spec):
    path = write_spec(HLT, lock={"require": True})
    with pytest.raises(SpecError, match=r"there is no lock; to write it: vmspec lock guest.toml"):
        run(path)
    lock(path)
    assert run(path).kind == "halt"
    assert run(path).kind == "halt"  # of a kept plan
    path.write_text(path.read_text().replace("1MiB", "2MiB"))
    with pytest.raises(SpecError, match=r"spec.vm.memory"):
        run(path)


def test_a_spec_that_requires_its_lock_does_not_write_over_it(write_spec):
    path = write_spec(HLT, lock={"require": True}, trace={"path": "guest.toml.lock"})
    with pytest.raises(SpecError, match=r"guest.toml.lock is this spec's lock too"):
        run(path)


def test_a_run_that_need_not_be_locked_reads_no_lock(write_spec, tmp_path, monkeypatch):
    path = write_spec(HLT)
    (tmp_path / "guest.toml.lock").write_text("not TOML")
    assert run(path).kind == "halt"


def test_a_plan_of_no_file_has_no_lock(image):
    plan, _ = kept.plan(image, ())
    with pytest.raises(SpecError, match="a plan without a spec file"):
        run(plan._replace(path=None), locked=True)
    assert run(plan, locked=True).kind == "halt"


COMPUTED = "import importlib\nfrom runner.devices import Device\nVALUE = importlib.import_module('hel' + 'per').VALUE\n"
COMPUTED += "class Square(Device):\n    pass\n"


def test_a_module_that_no_import_statement_names(write_spec, tmp_path):
    path = lock(write_spec(HLT, devices=PYTHON, files={**FILES, "square.py": COMPUTED}))
    with pytest.raises(SpecError) as caught:
        run(path, locked=True)
    problem, _ = caught.value.problems
    assert problem.path == 'images."python0/helper.py"'
    assert (
        problem.message == f"{tmp_path / 'helper.py'} was loaded, but no import statement names it, so no lock has it"
    )
    assert not (tmp_path / "guest.arrow").exists()


SWAP = """\
from pathlib import Path
from runner.devices import Device
(Path(__file__).parent / "disk").write_bytes(b"another disk".ljust(512))
class Square(Device):
    pass
"""


def test_a_file_that_changes_between_the_comparison_and_the_run(write_spec, tmp_path):
    (tmp_path / "disk").write_bytes(bytes(512))
    disk = {"kind": "virtio-blk", "path": "disk", "mode": "ro"}
    path = lock(write_spec(HLT, devices=[*PYTHON, disk], files={"square.py": SWAP}))
    with pytest.raises(SpecError, match=r"disk has changed since it was compared"):
        run(path, locked=True)


def test_the_command_names_each_change_and_is_status_2(image, tmp_path, capfd):
    (tmp_path / "k").write_bytes(b"\x90\xf4")
    assert main(["--locked", str(image), "--set", "vm.timeout=9s"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in lines[:2]] == ["spec.vm.timeout", "images.kernel"]
    assert (lines[0].startswith(f"vmrun: {image}.lock:"), len(lines)) == (True, 3)


def test_large_images_are_told_before_they_are_hashed(image, monkeypatch):
    monkeypatch.setattr(locking, "LONG", 1)
    notices = []
    run(image, locked=True, notice=notices.append)
    assert notices == ["hashing 0.0 GiB of images for the lock, before the guest runs"]


# The lock in a trace


def lock_of(trace):
    return LockText(tracer.load(trace).metadata["vmrun.lock"]).lock


def test_a_trace_carries_its_lock(image):
    recorded = lock_of(run(image).trace)
    assert compare(LockText.open(image.with_name("guest.toml.lock")).lock, recorded) == ()
    assert recorded == LockText.open(image.with_name("guest.toml.lock")).lock


@pytest.mark.parametrize("locked", [False, True])
def test_a_large_disk_has_its_hash_in_the_trace_of_a_locked_run(write_spec, tmp_path, locked):
    size = 65 << 20
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(size)
    path = lock(write_spec(HLT, devices=[{"kind": "virtio-blk", "path": "disk", "mode": "overlay"}]))
    image = lock_of(run(path, locked=locked).trace).images["virtio-blk0/path"]
    digest = hashlib.sha256(bytes(size)).hexdigest()
    assert (image.path, image.size, image.sha256) == ("disk", size, digest if locked else "")


def test_the_lock_of_a_trace_is_the_same_whichever_processor_it_was_read_on(image):
    allowed = os.sched_getaffinity(0)
    try:
        locks = set()
        for processor in allowed:
            os.sched_setaffinity(0, {processor})
            locks.add(tracer.load(run(image).trace).metadata["vmrun.lock"])
    finally:
        os.sched_setaffinity(0, allowed)
    assert len(locks) == 1


def test_the_facts_leave_nothing_open(image, descriptors):
    plan, _ = kept.plan(image, ())
    hostfacts.facts(plan.cpu)
    before = descriptors()
    facts = hostfacts.facts(plan.cpu)
    assert (descriptors(), facts["info"]["kernel"], facts["may"]["tsc_khz"] > 0) == (before, os.uname().release, True)


def test_a_trace_of_a_guest_with_code_has_the_code_in_its_lock(run_guest):
    result = run_guest(HLT)
    metadata = tracer.load(result.trace).metadata
    images = json.loads(metadata["vmrun.images"])
    assert lock_of(result.trace).images["code"].sha256 == images["code"]["sha256"]
    assert Path(result.trace).exists()


def test_the_lock_of_a_trace_is_a_lock_of_its_spec(write_spec, capsys):
    path = write_spec(HLT)
    trace = run(path).trace
    assert vmtrace(["info", "--lock", str(trace)]) == 0
    path.with_name("guest.toml.lock").write_text(capsys.readouterr().out)
    assert run(path, locked=True).kind == "halt"
