"""The lock of a plan: what the run reads, and the spec without it."""

import hashlib
import os

import pytest

from vmspec.document import Document
from vmspec.lock import images, taking
from vmspec.lock.drift import compare
from vmspec.lock.taking import take
from vmspec.schema.problems import SpecError

SPEC = """\
[vm]
name = "guest"
memory = "1MiB"
[boot]
mode = "real"
kernel = "k"
symbols = "map"
[[device]]
kind = "serial"
input = "typed"
output = "out/log"
[[device]]
kind = "python"
class = "parts.square:Square"
port = [0x100, 1]
options = { n = 1, when = 2026-01-01T00:00:00Z }
[[device]]
kind = "virtio-blk"
path = "ro.img"
mode = "ro"
[[device]]
kind = "virtio-blk"
path = "rw.img"
mode = "rw"
[[device]]
kind = "virtio-blk"
path = "over.img"
mode = "overlay"
[[device]]
kind = "virtio-pmem"
path = "pmem.img"
[[device]]
kind = "virtio-vsock"
path = "sock"
[[device]]
kind = "virtio-console"
input = "none"
ports = [{ name = "result", input = "asked" }]
[trace]
path = "guest.arrow"
"""
FILES = {
    "k": b"\xf4",
    "map": b"0000000000001000 T start\n",
    "typed": b"input\n",
    "asked": b"port\n",
    "parts/square.py": b"import helper\n# a",
    "parts/helper.py": b"VALUE = 1\n# a",
    "ro.img": bytes(512),
    "rw.img": b"\1" * 512,
    "over.img": b"\2" * 512,
    "pmem.img": b"\3" * 4096,
}
NAMES = {
    "kernel": "k",
    "symbols": "map",
    "serial0/input": "typed",
    "virtio-console0.result/input": "asked",
    "python0/parts/square.py": "parts/square.py",
    "python0/parts/helper.py": "parts/helper.py",
    "virtio-blk0/path": "ro.img",
    "virtio-blk1/path": "rw.img",
    "virtio-blk2/path": "over.img",
    "virtio-pmem0/path": "pmem.img",
}


def fill(folder):
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "guest.toml").write_text(SPEC)
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "here")


def plan(folder, *overrides):
    return Document.open(folder / "guest.toml", overrides).plan()


def lock(folder, *overrides):
    return take(plan(folder, *overrides), {}).lock


def drift(before, after):
    return [change.name for change in compare(before, after)]


def test_every_file_that_the_run_reads_is_hashed(folder):
    done = []
    taken = take(plan(folder), {}, done.append)
    found = {name: (image.path, image.size, image.sha256) for name, image in taken.lock.images.items()}
    assert found == {
        name: (path, len(FILES[path]), hashlib.sha256(FILES[path]).hexdigest()) for name, path in NAMES.items()
    }
    assert [name for name, image in taken.lock.images.items() if image.written] == ["virtio-blk1/path"]
    assert sum(done) == sum(map(len, FILES.values()))


def test_plans_with_the_same_images_hash_them_once(folder):
    done, digests = [], {}
    first = take(plan(folder), {}, done.append, digests).lock
    assert sum(done) == sum(map(len, FILES.values()))
    (folder / "map").write_bytes(b"0000000000001001 T start\n")
    second = take(plan(folder, "vm.memory=2MiB"), {}, done.append, digests).lock
    assert sum(done) == sum(map(len, FILES.values())) + len(FILES["map"])
    changed = [name for name, image in second.images.items() if image.sha256 != first.images[name].sha256]
    assert changed == ["symbols"]


def test_the_code_in_a_spec_is_an_image(folder):
    (folder / "code.toml").write_text('[vm]\nname = "x"\n[boot]\nmode = "real"\ncode = "90 f4"\n')
    taken = take(Document.open(folder / "code.toml").plan(), {}).lock
    assert {name: image.sha256 for name, image in taken.images.items()} == {
        "code": hashlib.sha256(b"\x90\xf4").hexdigest()
    }
    assert "code" not in taken.spec["boot"]


def test_the_spec_is_without_what_does_not_make_the_machine(folder):
    spec = lock(folder).spec
    assert {"kernel", "symbols", "code"} & spec["boot"].keys() == set()
    assert ("path" in spec["trace"], "lock" in spec) == (False, False)
    serial, python, *disks, vsock, console = spec["device"]
    assert ("input" in serial, serial["output"], python["class"]) == (False, "out/log", "parts.square:Square")
    assert [disk for disk in disks if "path" in disk] == []
    assert (vsock["path"], "input" in console["ports"][0]) == ("sock", False)


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_of_an_image_is_named_exactly(folder, name):
    before = lock(folder)
    data = bytearray(FILES[NAMES[name]])
    data[-1] ^= 1
    (folder / NAMES[name]).write_bytes(data)
    (change,) = compare(before, lock(folder))
    assert (change.path, change.weight) == (("images", name), "may" if name == "virtio-blk1/path" else "must")


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("vm.memory=2MiB", "spec.vm.memory"),
        ("vm.vcpus=2", "spec.vm.vcpus"),
        ("vm.timeout=5s", "spec.vm.timeout"),
        ("boot.load=0x2000", "spec.boot.load"),
        ("boot.registers.rax=1", "spec.boot.registers"),
        ("memory.prefault=true", "spec.memory.prefault"),
        ('cpu.disable=["avx"]', "spec.cpu.disable"),
        ("device[0].com=2", "spec.device[0].com"),
        ('device[0].output="other"', "spec.device[0].output"),
        ("device[1].options.n=2", "spec.device[1].options.n"),
        ('device[2].mode="overlay"', "spec.device[2].mode"),
        ("trace.rip=false", "spec.trace.rip"),
        ('expect.console=["x"]', "spec.expect.console"),
    ],
)
def test_a_field_of_the_spec_is_named_exactly(folder, override, name):
    assert drift(lock(folder), lock(folder, override)) == [name]


def test_another_disk_is_named_by_its_content(folder):
    before = lock(folder)
    (folder / "same.img").write_bytes(FILES["ro.img"])
    assert drift(before, lock(folder, 'device[2].path="same.img"')) == []
    assert drift(before, lock(folder, 'device[2].path="over.img"')) == ['images."virtio-blk0/path"']


def test_a_reference_trace_is_no_image(folder):
    (folder / "golden.arrow").write_bytes(b"one run")
    override = 'expect={reference="golden.arrow", console=["x"]}'
    before = lock(folder, override, "trace.path=t.arrow")
    (folder / "golden.arrow").write_bytes(b"another run")
    assert drift(before, lock(folder, override, "trace.path=t.arrow")) == []
    (folder / "golden.arrow").rename(folder / "moved.arrow")
    assert drift(before, lock(folder, override.replace("golden", "moved"), "trace.path=t.arrow")) == []


def test_where_a_run_is_recorded_and_that_it_must_be_locked_are_no_drift(folder):
    before = lock(folder)
    assert drift(before, lock(folder, "trace.path=other.arrow")) == []
    assert drift(before, lock(folder, "lock.require=true")) == []
    assert drift(before, take(plan(folder).unrecorded(), {}).lock) == []


def test_whitespace_comments_order_and_defaults_are_no_drift(folder):
    before = lock(folder)
    turned = SPEC.replace('[vm]\nname = "guest"\nmemory = "1MiB"\n', "")
    turned += "\n# at the end\n[vm]\n  memory = 0x100000 # the same\nvcpus = 1\n\n"
    turned += 'name = "guest"\n[cpu]\nmodel = "host"\n'
    (folder / "guest.toml").write_bytes(b"\xef\xbb\xbf" + turned.replace("\n", "\r\n").encode())
    assert drift(before, lock(folder)) == []


def test_a_folder_that_was_moved_is_no_drift(folder, tmp_path):
    before = lock(folder)
    assert (drift(before, lock(fill(tmp_path / "there"))), before) == ([], lock(tmp_path / "there"))


def test_an_input_that_is_no_file_is_no_image(folder):
    (folder / "typed").unlink()
    os.mkfifo(folder / "typed")
    found = lock(folder)
    assert ("serial0/input" in found.images, found.spec["device"][0]["input"]) == (False, "typed")


def test_an_image_elsewhere_has_its_whole_path(folder, tmp_path):
    (tmp_path / "k2").write_bytes(b"\xf4")
    found = lock(folder, f'boot.kernel="{tmp_path}/k2"')
    assert found.images["kernel"].path == str(tmp_path / "k2")


def test_a_file_that_has_changed_since_the_plan_was_made(folder):
    made = plan(folder)
    (folder / "k").write_bytes(b"\xf4\xf4")
    with pytest.raises(SpecError, match=r"images.kernel: .*has changed since the plan was made"):
        take(made, {})


def test_a_file_that_is_written_to_while_it_is_hashed(folder, monkeypatch):
    made = plan(folder)
    monkeypatch.setattr(taking, "sha256", lambda *arguments: (folder / "ro.img").write_bytes(b"x") and "0" * 64)
    with pytest.raises(SpecError, match=r"virtio-blk0/path: .*was written to while it was hashed"):
        take(made, {})


def test_a_file_that_cannot_be_read_any_more(folder, monkeypatch):
    made = plan(folder)
    found = [*images.files(made)]
    monkeypatch.setattr(images, "files", lambda plan: iter(found))
    (folder / "ro.img").unlink()
    (folder / "over.img").unlink()
    (folder / "over.img").mkdir()
    with pytest.raises(SpecError) as caught:
        take(made, {})
    assert [problem.message.partition(".img ")[2] for problem in caught.value.problems] == [
        "cannot be read: No such file or directory",
        "is not a file any more: run the command again",
    ]


def test_what_was_hashed_is_watched(folder):
    taken = take(plan(folder), {})
    assert [*taken.changed()] == []
    (folder / "new").write_bytes(FILES["ro.img"])
    (folder / "new").rename(folder / "ro.img")
    (folder / "map").unlink()
    assert [path.name for path in taken.changed()] == ["map", "ro.img"]
