"""What can be a disk, and what is said of what cannot."""

import os
import socket

import pytest

from vmspec import SpecError
from vmspec.document import Document
from vmspec.image import disk

SPEC = """\
[vm]
name = "x"
memory = "1MiB"
[boot]
mode = "real"
code = "f4"
[[device]]
kind = "virtio-blk"
path = "disk.img"
"""


@pytest.mark.parametrize("writes", [False, True])
def test_a_file_of_whole_sectors_is_a_disk(tmp_path, writes):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512 * 7))
    assert disk.problem(path, writes) is None
    descriptor, size = disk.opened(path, writes)
    os.close(descriptor)
    assert size == 512 * 7


def make(path, what):
    match what:
        case "missing":
            pass
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))
        case "device":
            path.symlink_to("/dev/null")
        case bytes():
            path.write_bytes(what)


RAW = "make it a raw one with qemu-img convert -O raw IMAGE NEW"
WRONG = {
    "missing": "cannot be opened: No such file or directory",
    "directory": "is a directory, not a disk image",
    "fifo": "is a named pipe, not a disk image",
    "socket": "is a socket, not a disk image",
    "device": "is a device, not a disk image",
    b"": "is empty: give it a size, as truncate -s 1G does",
    bytes(513): "has 513 bytes, which is not a multiple of 512 (whole sectors)",
    b"QFI\xfb" + bytes(508): f'is a qcow2 disk image: {RAW}, or give format = "qcow2"',
    b"vhdxfile" + bytes(504): f'is a VHDX disk image: {RAW}, or give format = "vhdx"',
}


@pytest.mark.parametrize("what", WRONG, ids=[str(what)[:12] for what in WRONG])
@pytest.mark.parametrize("writes", [False, True])
def test_what_cannot_be_a_disk_is_named(tmp_path, what, writes):
    path = tmp_path / "disk.img"
    make(path, what)
    assert disk.problem(path, writes) == WRONG[what]


@pytest.mark.parametrize(
    ("form", "what", "why"),
    [
        ("qcow2", b"QFI\xfb" + bytes(7), None),
        ("qcow2", bytes(512), 'is no qcow2 image: give another format, or "raw"'),
        ("vmdk", b"QFI\xfb" + bytes(508), f'is a qcow2 disk image: {RAW}, or give format = "qcow2"'),
        ("vdi", b"\0" * 0x40 + b"\x7f\x10\xda\xbe", None),
        ("vpc", bytes(513), None),
        ("qcow2", b"", "is empty: give it a size, as truncate -s 1G does"),
    ],
)
def test_an_image_of_another_format_is_named(tmp_path, form, what, why):
    path = tmp_path / "disk.img"
    path.write_bytes(what)
    assert disk.problem(path, True, form) == why


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do all")
@pytest.mark.parametrize("mode", [0, 0o400])
def test_a_file_without_permission(tmp_path, mode):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    path.chmod(mode)
    assert disk.problem(path, True) == 'cannot be written: Permission denied; give mode = "overlay" or "ro"'
    assert disk.problem(path, False) == (None if mode else "cannot be opened: Permission denied")


@pytest.mark.parametrize(
    ("more", "place", "message"),
    [
        ("", "device[0].path", "cannot be opened: No such file or directory"),
        ('mode = "cow"', "device[0].mode", "is not one of the choices"),
        (
            'mode = "overlay"\ndirect = true',
            "device[0].direct",
            "an overlay cannot bypass the page cache: give another mode",
        ),
        ('serial = "123456789012345678901"', "device[0].serial", "is not such a text"),
        ('serial = "caf\u00e9"', "device[0].serial", "is not such a text"),
        ("queues = 0", "device[0].queues", "is out of range"),
        ("queues = 17", "device[0].queues", "is out of range"),
        ("block-size = 520", "device[0].block-size", "is not one of the choices"),
    ],
)
def test_a_problem_of_a_disk_has_its_place(tmp_path, more, place, message):
    if more:
        (tmp_path / "disk.img").write_bytes(bytes(512))
    (tmp_path / "x.toml").write_text(SPEC + more)
    with pytest.raises(SpecError) as caught:
        Document.open(tmp_path / "x.toml").plan()
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [(place, message)]
    assert caught.value.problems[0].line is not None


@pytest.mark.parametrize(("one", "other", "fine"), [
    ("rw", "rw", False), ("rw", "ro", False), ("overlay", "rw", False), ("ro", "ro", True),
    ("overlay", "overlay", True),
])  # fmt: skip
def test_a_disk_that_is_written_has_no_other_use(tmp_path, one, other, fine):
    (tmp_path / "disk.img").write_bytes(bytes(512))
    (tmp_path / "link.img").symlink_to("disk.img")
    second = SPEC[SPEC.index("[[device]]") :].replace("disk.img", "link.img")
    (tmp_path / "x.toml").write_text(f'{SPEC}mode = "{one}"\n{second}mode = "{other}"\n')
    document = Document.open(tmp_path / "x.toml")
    if fine:
        document.plan()
        return
    with pytest.raises(SpecError, match=r"link.img is device\[0\].path too, and would be overwritten"):
        document.plan()
