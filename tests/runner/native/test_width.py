"""The width of the C. clang-format keeps code to it, and comments as they are."""

from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "runner" / "native"
COLUMNS = 120  # .clang-format


@pytest.mark.parametrize("path", sorted([*NATIVE.glob("*.[ch]"), NATIVE / "native.cdef"]), ids=lambda path: path.name)
def test_no_line_is_longer(path):
    lines = enumerate(path.read_text().splitlines(), 1)
    assert [number for number, line in lines if len(line) > COLUMNS] == []
