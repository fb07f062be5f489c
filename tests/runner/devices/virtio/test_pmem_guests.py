"""Flat guests with an image in their memory."""

import json
import os
import struct
from hashlib import sha256
from tempfile import TemporaryFile

import pytest

from runner import DeviceError, HostError
from tests.fakes.flatdriver import HERE, HLT
from tracer import load
from vmspec import SpecError, layout
from vmspec.registers import virtio as R
from vmspec.trace import keys

pytestmark = pytest.mark.kvm

IMAGE = layout.HOLE_END  # where the first one lies in a small machine
SIZE = 2 << 20
DIRECTORY = 0x20000  # a page directory for the addresses from 4 GiB on


def store(address, value):
    """mov dword [address], value, in 64-bit code."""
    return b"\xc7\x04\x25" + struct.pack("<iI", address, value)


def store_register(offset, value):
    """The same to a register of the device: mov ebx, address; mov dword [rbx], value."""
    return b"\xbb" + struct.pack("<I", HERE + offset) + b"\xc7\x03" + struct.pack("<I", value)


def reach():
    """Map the first 6 MiB from 4 GiB on."""
    pages = b"".join(store(DIRECTORY + 8 * n, SIZE * n | 0x83) + store(DIRECTORY + 8 * n + 4, 1) for n in range(3))
    return pages + store(layout.PAGE_TABLES + layout.PAGE + 8 * 4, DIRECTORY | 3)


def show(address, size):
    """Write bytes to the debug port: mov rsi; mov ecx; mov dx; rep outsb."""
    return b"\x48\xbe" + struct.pack("<Q", address) + b"\xb9" + struct.pack("<I", size) + b"\x66\xba\xe9\x00\xf3\x6e"


def write(address, value):
    """mov rbx, address; mov dword [rbx], value."""
    return b"\x48\xbb" + struct.pack("<Q", address) + b"\xc7\x03" + struct.pack("<I", value)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "root.img"
    path.write_bytes(b"read me, ".ljust(5000, b"."))
    return path


@pytest.fixture
def drive(run_driver, image):
    def run(code, *others, **spec):
        return run_driver(reach() + code, {"kind": "virtio-pmem", "path": str(image)}, *others, mode="long", **spec)

    return run


def test_a_guest_reads_the_image_and_zeros_after_it(drive):
    result = drive(show(IMAGE, 9) + show(IMAGE + 4999, 3) + show(IMAGE + SIZE - 2, 2))
    assert (result.kind, result.console) == ("halt", b"read me, " + b".\0\0" + bytes(2))


def test_what_a_guest_writes_is_its_own(drive, image, tmp_path):
    other = {"kind": "virtio-pmem", "path": str(image)}
    before = image.read_bytes()
    code = write(IMAGE, 0x6F725721) + write(IMAGE + SIZE - 4, 0x21646E65)
    second = IMAGE + layout.IMAGE_ALIGNMENT
    far = store(DIRECTORY + 8, (second & 0xFFFFFFFF) | 0x83) + store(DIRECTORY + 12, second >> 32)
    shown = show(IMAGE, 4) + show(IMAGE + SIZE - 4, 4)
    result = drive(code + shown + far + show(IMAGE + SIZE, 7), other)
    assert (result.kind, result.console) == ("halt", b"!Wro" + b"end!" + b"read me")
    assert image.read_bytes() == before


def test_the_trace_has_the_images_hash_and_no_row_of_its_reads(drive, image):
    result = drive(show(IMAGE, 4), trace={})
    trace = load(result.trace)
    assert (
        json.loads(trace.metadata[keys.IMAGES])["virtio-pmem0/path"]["sha256"] == sha256(image.read_bytes()).hexdigest()
    )
    assert [row for row in trace.table.to_pylist() if row["addr"] is not None and row["addr"] >= IMAGE] == []


@pytest.mark.parametrize("registers", [R.CONFIG, R.CONFIG + 4, R.CONFIG + 8, R.CONFIG + 12])
def test_the_configuration_says_where_it_lies(drive, registers):
    read = b"\xbb" + struct.pack("<I", HERE + registers) + b"\x8b\x03" + b"\xe6\xe9\xc1\xe8\x08" * 4
    words = struct.pack("<QQ", IMAGE, SIZE)
    assert drive(read).console == words[registers - R.CONFIG :][:4]


def test_an_image_that_another_writes_is_refused(drive, image):
    from runner.backends.filelock import locked

    descriptor = os.open(image, os.O_RDWR)
    try:
        assert locked(descriptor, writes=True) is None
        with pytest.raises(DeviceError, match=r"device\[0\]\.path: .*root\.img is in use by"):
            drive(HLT)
    finally:
        os.close(descriptor)


@pytest.fixture
def long_image(image):
    """An image of any length; tmpfs has the longest files."""
    with TemporaryFile(dir="/dev/shm") as file:
        image.unlink()
        image.symlink_to(f"/proc/self/fd/{file.fileno()}")
        yield file


def test_an_image_may_be_longer_than_the_hosts_memory(drive, long_image):
    """Its pages are there as they are read, and those that are written take memory then."""
    long_image.truncate(2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    assert drive(show(IMAGE, 2)).console == bytes(2)


def test_an_image_that_the_host_cannot_map_is_said_at_its_key(drive, long_image, image):
    long_image.truncate(1 << 47)
    said = rf"device\[0\]\.path: {image} \(128TiB\) cannot be mapped into the guest's memory: Cannot allocate memory"
    with pytest.raises(HostError, match=said):
        drive(HLT)


def test_an_output_over_the_image_is_refused(drive, image):
    with pytest.raises(SpecError, match="would be overwritten"):
        drive(HLT, {"kind": "serial", "output": str(image), "input": "none"})
