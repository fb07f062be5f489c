"""Which firmware a ROM image is."""

import io

import pytest

from vmspec.image import Source, rom
from vmspec.image.source import READ_MAX


@pytest.mark.parametrize(("mark", "kind"), [(b"SeaBIOS", "SeaBIOS"), (b"_FVH", "UEFI"), (b"SeaBIO", None)])
@pytest.mark.parametrize("at", [0, 4000, READ_MAX - 12, READ_MAX - 7, READ_MAX - 3, READ_MAX, 3 * READ_MAX - 20])
def test_a_mark_anywhere_says_it(mark: bytes, kind: str | None, at: int) -> None:
    data = bytes(at) + mark + bytes(64)
    assert rom.kind(Source(io.BytesIO(data), len(data))) == kind
