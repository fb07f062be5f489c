"""Multiboot headers: where they are found, what they say, and what contradicts itself."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.image.multiboots import multiboot1, multiboot2
from vmspec.image import ImageError
from vmspec.image.multiboot import Addresses, Header, find

ADDRESSES = (0x100010, 0x100000, 0x100800, 0x101000, 0x100040)  # of the header at byte 0x10, load, ends, entry


def at(offset: int, header: bytes) -> bytes:
    return bytes(offset) + header + bytes(64)


@pytest.mark.parametrize(("offset", "found"), [(0, True), (4, True), (2, False), (8176, True), (8192, False)])
def test_a_header_of_version_1_is_in_the_first_8192_bytes_at_a_multiple_of_4(offset: int, found: bool) -> None:
    assert find(at(offset, multiboot1())) == ((Header(1),) if found else ())


@pytest.mark.parametrize(("offset", "found"), [(0, True), (8, True), (4, False), (32736, True), (32768, False)])
def test_a_header_of_version_2_is_in_the_first_32768_bytes_at_a_multiple_of_8(offset: int, found: bool) -> None:
    assert find(at(offset, multiboot2())[: 1 << 15]) == ((Header(2),) if found else ())


@pytest.mark.parametrize("header", [multiboot1()[:8] + b"\1", multiboot2()[:12] + bytes(12), b"\0" + multiboot1()])
def test_a_magic_number_alone_is_no_header(header: bytes) -> None:
    assert find(at(64, header)) == ()


def test_a_file_may_have_both() -> None:
    assert [header.name for header in find(at(8, multiboot2() + multiboot1()))] == ["Multiboot", "Multiboot 2"]


def test_addresses_of_version_1() -> None:
    (header,) = find(at(0x10, multiboot1(1 << 16, ADDRESSES)))
    assert header == Header(1, Addresses(0, 0x100000, 0x100800, 0x101000), 0x100040)


def test_addresses_and_entry_of_version_2() -> None:
    tags = ((2, 0, struct.pack("<4I", *ADDRESSES[:4])), (3, 0, struct.pack("<I", 0x100040)))
    (header,) = find(at(0x18, multiboot2(*tags)))
    assert header == Header(2, Addresses(8, 0x100000, 0x100800, 0x101000), 0x100040)


def test_a_file_of_version_2_may_be_loaded_from_its_first_byte() -> None:
    addresses = (2, 0, struct.pack("<4I", 0x100018, 0xFFFFFFFF, 0, 0))
    (header,) = find(at(0x18, multiboot2(addresses, (3, 0, struct.pack("<I", 0x100040)))))
    assert header.addresses == Addresses(0, 0x100000, 0, 0)
    with pytest.raises(ImageError, match="is not where its addresses say"):
        find(at(0x18, multiboot2((2, 0, struct.pack("<4I", 0x17, 0xFFFFFFFF, 0, 0)))))


@pytest.mark.parametrize(
    "addresses",
    [
        (0x100010, 0x100011, 0, 0, 0x100040),  # it begins behind the header
        (0x100010, 0x0FFFFF, 0, 0, 0x100040),  # it begins before the file
        (0x100010, 0x100000, 0x0FFFFF, 0, 0x100040),
        (0x100010, 0x100000, 0x100800, 0x1007FF, 0x100040),
    ],
)
def test_addresses_that_contradict_each_other(addresses: tuple[int, ...]) -> None:
    with pytest.raises(ImageError):
        find(at(0x10, multiboot1(1 << 16, addresses)))


def test_a_header_with_addresses_is_whole() -> None:
    with pytest.raises(ImageError, match="truncated"):
        find(bytes(0x10) + multiboot1(1 << 16, ADDRESSES)[:31])


@pytest.mark.parametrize(
    ("header", "unmet"),
    [
        (multiboot1(0xFFFF0003 & ~(1 << 16)), ()),
        (multiboot1(1 << 3), ("what flag 3 stands for",)),
        (multiboot1(1 << 15 | 1 << 5), ("what flag 5 stands for", "what flag 15 stands for")),
        (multiboot2(architecture=4), ("the architecture 4",)),
        (multiboot2((5, 0, bytes(12))), ("a framebuffer",)),
        (multiboot2((5, 1, bytes(12))), ()),
        (multiboot2((7, 0, b"")), ("EFI's boot services",)),
        (multiboot2((99, 0, b"")), ("what tag 99 stands for",)),
        (multiboot2((1, 0, struct.pack("<3I", 6, 8, 3))), ("the information of type 8",)),
        (multiboot2((1, 1, struct.pack("<I", 8))), ()),
        (multiboot2((6, 0, b""), (4, 0, bytes(4)), (10, 0, bytes(16))), ()),
    ],
)
def test_what_a_kernel_needs_that_is_not_there(header: bytes, unmet: tuple[str, ...]) -> None:
    assert find(at(0, header))[0].unmet == unmet


def test_a_video_mode_is_no_need() -> None:
    assert find(at(0, multiboot1(1 << 2)))[0] == Header(1, video=True)


@given(st.binary(max_size=80), st.sampled_from((0, 0x10)), st.binary(max_size=40))
def test_any_bytes_behind_a_magic_number(before: bytes, at: int, after: bytes) -> None:
    magics = [0x1BADB002, 0xE85250D6]
    for magic in magics:
        head = before.ljust(80, b"\0") + struct.pack("<I", magic) + after
        try:
            find(head[at:])
        except ImageError:
            continue
