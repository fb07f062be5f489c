"""Programs that need their 16-bit setup code, by their content."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.image import images
from vmspec.boot import realmode
from vmspec.image import BzImage, Source, bzimage

IPXE = {"version": 0x0207, "code32_start": 0, "relocatable": 0, "xloadflags": 0, "payload_length": 0}


def header(name: bytes = b"", **fields: int) -> BzImage:
    data = bytearray(images.bzimage(kernel_version=0x100, **fields))
    data[0x300 : 0x301 + len(name)] = name + b"\0"
    return bzimage.read(Source(io.BytesIO(data), len(data)))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (header(), None),
        (header(xloadflags=0), None),
        (header(**IPXE), "has no 32-bit entry"),
        (header(**{**IPXE, "code32_start": 1 << 20}), None),
        (header(**{**IPXE, "xloadflags": 1, "version": 0x020F}), None),
        (header(b"MEMDISK 6.04 20200816", **{**IPXE, "code32_start": 1 << 20}), "takes the place of a disk"),
        (header(b"MEMDISKETTE"), None),
        (header(loadflags=0), "is a zImage"),
    ],
)
def test_why_the_setup_code_must_start_it(image: BzImage, words: str | None) -> None:
    reason = realmode.why(image)
    assert reason is None if words is None else words in (reason or "")


def test_a_program_is_called_by_its_own_name_if_it_can_be_shown() -> None:
    assert realmode.called(header(b"MEMDISK 6.04")) == "it (MEMDISK 6.04)"
    assert [realmode.called(header(name)) for name in (b"", b"\x1b[2J")] == ["it", "it"]


@given(st.fixed_dictionaries({
    "version": st.integers(0x0200, 0x02FF), "code32_start": st.integers(0, (1 << 32) - 1) | st.just(1 << 20),
    "relocatable": st.booleans().map(int), "xloadflags": st.integers(0, 0xFFFF), "loadflags": st.integers(0, 255),
    "payload_length": st.just(0),
}), st.binary(max_size=90))  # fmt: skip
def test_every_program_has_an_entry_or_a_reason(fields: dict[str, int], name: bytes) -> None:
    image = header(name, **fields)
    inside = 1 << 20 <= image.code32_start < (1 << 20) + image.kernel_size
    if realmode.why(image) is None:
        assert not image.low
        assert image.entry64 or image.relocatable or inside
    else:
        assert image.low or image.name.startswith("MEMDISK ") or not (image.entry64 or image.relocatable or inside)
    assert realmode.called(image).isprintable()
