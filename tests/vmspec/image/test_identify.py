import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmspec.image import images
from vmspec.image import BzImage, Elf, ImageError, Source, identify, opened

# VMRUN_MUTATIONS raises the number of inputs for a soak run.
MUTATIONS = int(os.environ.get("VMRUN_MUTATIONS", "200"))


def told(data: bytes, flat: bool = False) -> BzImage | Elf | None:
    return identify(Source(io.BytesIO(data), len(data)), flat=flat)


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        told(data)
    return str(error.value)


def test_bzimage_header() -> None:
    image = told(images.bzimage(bytes(600), cmdline_size=255))
    assert isinstance(image, BzImage)
    assert (image.version, image.header_size, image.setup_size) == (0x020F, 123, images.SETUP_SIZE)
    assert (image.pref_address, image.init_size, image.cmdline_size) == (0x1000000, 0x800000, 255)
    assert (image.entry64, image.relocatable, image.kernel_alignment) == (True, True, 0x200000)
    assert image.payload_offset == images.SETUP_SIZE + images.PAYLOAD_AT
    assert image.payload_length == 600


def test_bzimage_of_an_old_protocol_has_the_values_of_its_time() -> None:
    image = told(images.bzimage(version=0x0202))
    assert isinstance(image, BzImage)
    assert (image.initrd_addr_max, image.cmdline_size) == (0x37FFFFFF, 255)
    assert (image.relocatable, image.entry64, image.payload_length, image.init_size) == (False, False, 0, 0)


def test_bzimage_that_is_loaded_low_or_is_an_efi_program() -> None:
    plain, low, efi = (
        told(data) for data in (images.bzimage(), images.bzimage(loadflags=0), b"MZ" + images.bzimage()[2:])
    )
    assert isinstance(plain, BzImage)
    assert isinstance(low, BzImage)
    assert isinstance(efi, BzImage)
    assert [(image.low, image.efi) for image in (plain, low, efi)] == [(False, False), (True, False), (False, True)]


@pytest.mark.parametrize(
    ("at", "text", "name"),
    [(0, b"", ""), (0x100, b"6.1.0 (you@here)", "6.1.0 (you@here)"), (0x100, b"a\xff", "a\N{REPLACEMENT CHARACTER}"),
     (0x100, b"x" * 200, "x" * 80), (0xFFFF, b"", "")],
)  # fmt: skip
def test_the_name_of_a_bzimage(at: int, text: bytes, name: str) -> None:
    data = bytearray(images.bzimage(kernel_version=at))
    data[0x200 + at : 0x200 + at + len(text) + 1] = text + b"\0" if at == 0x100 else data[0x200 + at : 0x201 + at]
    image = told(bytes(data))
    assert isinstance(image, BzImage)
    assert image.name == name


def test_bzimage_without_64_bit_entry() -> None:
    image = told(images.bzimage(xloadflags=0))
    assert isinstance(image, BzImage)
    assert not image.entry64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (images.bzimage()[:-64], "truncated"),
        (images.bzimage()[:0x250], "truncated"),
        (images.bzimage()[: images.SETUP_SIZE], "truncated"),
        (images.bzimage(version=0x0300), "boot protocol 3.00"),
        (images.bzimage(boot_flag=0), "0xaa55"),
        (images.bzimage(payload_length=1 << 20), "outside the file"),
        (images.bzimage(kernel_alignment=3), "kernel_alignment"),
        (images.bzimage(jump=0xFFEB), "setup header of"),
        (images.elf()[:-8], "truncated"),
        (images.elf()[:50], "truncated"),
        (images.elf()[:80], "truncated"),
        (images.elf(machine=183), "AArch64"),
        (images.elf(machine=3), "64-bit ELF file for i386"),
        (images.elf(type=1), "object file"),
        (images.elf(type=4), "core dump"),
        (images.elf(phnum=0), "0 program headers"),
        (images.elf(phnum=60000), "60000 program headers"),
        (images.elf(phentsize=32), "program headers of 32 bytes"),
        (images.elf(phoff=1 << 63), "truncated"),
        (images.elf(entry=0x10), "in no loaded segment"),
        (images.elf((0x1000000, 0, b"", 0)), "nothing to load"),
        (images.elf((1 << 52, 0, b"a", 1)), "beyond physical memory"),
        (images.elf((0x1000000, 0, b"abc", 2)), "more bytes in the file than in memory"),
        (images.elf((0x1000000, 0, b"a", 0x2000), (0x1001000, 0, b"b", 1)), "segments overlap"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    assert message in refusal(data)


def test_elf_segments_rise_and_the_virtual_entry_is_translated() -> None:
    high, low = (0x2000000, 0xFFFFFFFF82000000, b"b", 16), (0x1000000, 0xFFFFFFFF81000000, b"a", 0x3000)
    image = told(images.elf(high, low, entry=0xFFFFFFFF81000123))
    assert isinstance(image, Elf)
    assert [segment.address for segment in image.segments] == [0x1000000, 0x2000000]
    assert image.entry == 0x1000123


@pytest.mark.parametrize("make", [images.elf, images.elf32])
def test_xens_notes_in_an_elf_file(make: Callable[[], bytes]) -> None:
    plain = told(make())
    assert isinstance(plain, Elf)
    assert (plain.bits, plain.pvh, plain.guest_os) == (64 if make is images.elf else 32, None, None)
    other = struct.pack("<III", 4, 4, 18) + b"GNU\0" + bytes(4)
    notes = (other, images.xen(6, b"linux\0"), images.xen(18, struct.pack("<I", plain.entry + 1)))
    found = told(images.noted(make(), *notes))
    assert isinstance(found, Elf)
    assert found._replace(segments=()) == plain._replace(pvh=plain.entry + 1, guest_os="linux", segments=())
    assert [segment.address for segment in found.segments] == [segment.address for segment in plain.segments]


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_note_that_is_cut_off_is_none(cut: int) -> None:
    image = told(images.noted(images.elf(), images.xen(6, b"linux\0"), images.xen(18, bytes(4))[:-cut]))
    assert isinstance(image, Elf)
    assert (image.pvh, image.guest_os) == (None, "linux")


def test_unknown_bytes_are_a_flat_image() -> None:
    assert told(b"\xba\xf8\x03" * 10) is None


def test_bytes_of_another_format_are_code_where_the_spec_says_flat() -> None:
    assert told(b"#!\xf4", flat=True) is None


def test_program_of_the_host_is_no_kernel() -> None:
    with opened(Path("/bin/ls").resolve()) as source, pytest.raises(ImageError, match="dynamically linked"):
        identify(source)


@pytest.mark.parametrize("path", ["/", "/dev/zero", "/nowhere/vmlinuz", "\0"])
def test_what_is_no_file(path: str) -> None:
    with pytest.raises(ImageError), opened(Path(path)):
        pass


def test_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ImageError, match="not a regular file"), opened(tmp_path / "fifo"):
        pass


def test_huge_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(images.bzimage(syssize=0xFFFFFFFF))
    os.truncate(path, 1 << 40)
    with opened(path) as source:
        image = identify(source)
    assert isinstance(image, BzImage)
    assert image.kernel_size == 0xFFFFFFFF * 16


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good image with a few bytes or fields replaced, cut or lengthened."""
    data = bytearray(draw(st.sampled_from([images.bzimage(), images.elf(), images.bzimage(version=0x0204)])))
    for _ in range(draw(st.integers(1, 4))):
        # Most of what is read lies in the first bytes and in the setup header.
        at = draw(st.integers(0, 0x90) | st.integers(0x1F1, 0x268) | st.integers(0, len(data)))
        patch = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8), b"\xff" * 4]))
        data[at : at + len(patch)] = patch
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@pytest.mark.long
@given(mutated(), st.booleans())
@settings(max_examples=MUTATIONS, deadline=None)
def test_mutated_images_raise_only_image_errors(data: bytes, flat: bool) -> None:
    try:
        image = told(data, flat)
    except ImageError:
        return
    match image:
        case BzImage():
            assert 0 < image.kernel_size <= len(data) - image.setup_size
            assert image.payload_offset + image.payload_length <= len(data)
        case Elf():
            assert all(part.offset + part.file_size <= len(data) for part in image.segments)
            assert any(part.address <= image.entry < part.address + part.size for part in image.segments)
