"""Where the planner puts images in guest memory, and which files it refuses."""

from tempfile import TemporaryFile

import pytest

from tests.vmspec.image.test_disk import make
from vmspec import SpecError, layout
from vmspec.document import Document
from vmspec.plan import serial

GIB, MIB, KIB = 1 << 30, 1 << 20, 1 << 10
SPEC = """\
[vm]
name = "x"
memory = "{memory}"
[boot]
mode = "real"
code = "f4"
"""
PMEM = """\
[[device]]
kind = "virtio-pmem"
path = "{name}"
"""


def plan(tmp_path, *names, memory="1MiB", more=""):
    path = tmp_path / "vm.toml"
    path.write_text(SPEC.format(memory=memory) + "".join(PMEM.format(name=name) for name in names) + more)
    return Document.open(path).plan()


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("memory", "length", "start", "size"),
    [
        ("1MiB", 1, 4 * GIB, 2 * MIB),
        ("3GiB", 2 * MIB, 4 * GIB, 2 * MIB),
        ("3GiB", 2 * MIB + 1, 4 * GIB, 4 * MIB),
        ("4GiB", 17 * MIB, 5 * GIB, 18 * MIB),
        ("3200MiB", 1, 4 * GIB + 128 * MIB, 2 * MIB),
    ],
)
def test_an_image_lies_above_ram_in_a_section_of_its_own(tmp_path, memory, length, start, size):
    sparse(tmp_path / "root.img", length)
    made = plan(tmp_path, "root.img", memory=memory)
    (slot,) = made.mapped
    assert (slot.start, slot.size, slot.path, slot.slot) == (start, size, tmp_path / "root.img", len(made.slots))
    assert (made.devices[0].options["start"], made.devices[0].options["size"]) == (start, size)
    assert [(area.kind, area.name) for area in made.areas if area.start == start] == [("image", "root.img")]
    assert serial.loads(serial.dumps(made)) == made


def test_images_follow_each_other_and_leave_out_devices(tmp_path):
    for name in ("a", "b"):
        sparse(tmp_path / name, 129 * MIB)
    (tmp_path / "own.py").write_text("class Own: pass\n")
    own = f'[[device]]\nkind = "python"\nclass = "own:Own"\nmmio = [{4 * GIB + 300 * MIB}, 4096]\n'
    made = plan(tmp_path, "a", "b", more=own)
    assert [slot.start for slot in made.mapped] == [4 * GIB, 4 * GIB + 3 * layout.IMAGE_ALIGNMENT]


WRONG = {
    "missing": "cannot be opened: No such file or directory",
    "directory": "is a directory, not a file",
    "fifo": "is a named pipe, not a regular file",
    "device": "is a device, not a regular file",
    b"": "is empty",
    b"QFI\xfb" + bytes(508): "is a qcow2 disk image: make it a raw one with qemu-img convert -O raw IMAGE NEW",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_an_image_is_refused_at_its_key(tmp_path, what):
    make(tmp_path / "root.img", what)
    with pytest.raises(SpecError) as caught:
        plan(tmp_path, "root.img")
    (problem,) = caught.value.problems
    assert (problem.path, problem.message, problem.line) == ("device[0].path", WRONG[what], 9)


def test_more_than_the_address_space_holds_is_refused(tmp_path):
    with TemporaryFile(dir="/dev/shm") as file:  # tmpfs has the longest files
        file.truncate((1 << 52) - 4 * GIB + 1)
        (tmp_path / "root.img").symlink_to(f"/proc/self/fd/{file.fileno()}")
        with pytest.raises(SpecError, match="more than is left of the guest's address space"):
            plan(tmp_path, "root.img")


def test_a_changed_size_makes_a_new_plan(tmp_path):
    sparse(tmp_path / "root.img", 1)
    made = plan(tmp_path, "root.img")
    assert [file.name for file in made.files] == ["virtio-pmem0/path"]
    assert made.files[0].version.size == 1
