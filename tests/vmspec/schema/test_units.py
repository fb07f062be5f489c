import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmspec.schema import units


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 << 20), ("1GiB", 1 << 30), ("64 KiB", 64 << 10), ("1.5GiB", 3 << 29), ("7B", 7), ("2TiB", 2 << 40)],
)
def test_sizes_are_read(text, size):
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("512MB", "write 512MiB"),
        ("512M", "write 512MiB"),
        ("64kb", "write 64KiB"),
        ("1gib", "write 1GiB"),
        ("512", "write 512MiB"),
        ("1 parsec", "parsec is not a unit"),
        ("-1MiB", "a number and a unit"),
        ("", "a number and a unit"),
        ("0.3B", "not a whole number of bytes"),
        ("1" * 5000 + "MiB", "a number and a unit"),
    ],
)
def test_other_sizes_are_refused_with_advice(text, advice):
    with pytest.raises(ValueError, match=advice):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("60s", 60 * 10**9),
        ("500ms", 5 * 10**8),
        ("2min", 120 * 10**9),
        ("1h", 3600 * 10**9),
        ("0.5us", 500),
        ("3 ns", 3),
    ],
)
def test_durations_are_read(text, duration):
    assert units.parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("5m", "write 5min"),
        ("5 seconds", "write 5s"),
        ("5", "write 5s"),
        ("5S", "write 5s"),
        ("5 fortnights", "not a unit"),
    ],
)
def test_other_durations_are_refused_with_advice(text, advice):
    with pytest.raises(ValueError, match=advice):
        units.parse_duration(text)


@pytest.mark.parametrize("text", ["4096", "0x", "0x1_0000_0000_0000_0000", "0xg", "-0x1", "0x" + "f" * 17])
def test_other_addresses_are_refused(text):
    with pytest.raises(ValueError, match="hexadecimal"):
        units.parse_address(text)


@given(st.integers(0, 1 << 50))
def test_a_formatted_size_reads_back(size):
    assert units.parse_size(units.format_size(size)) == size


@given(st.integers(0, 10**18 - 1))
def test_a_formatted_duration_reads_back(duration):
    assert units.parse_duration(units.format_duration(duration)) == duration


def test_nothing_has_the_smallest_unit():
    assert (units.format_size(0), units.format_duration(0)) == ("0B", "0ns")
