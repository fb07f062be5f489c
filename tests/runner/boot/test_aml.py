import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.boot import aml


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "00"),
        (1, "01"),
        (2, "0a02"),
        (0xFF, "0aff"),
        (0x100, "0b0001"),
        (0x10000, "0c00000100"),
        (1 << 32, "0e0000000001000000"),
    ],
)
def test_integer_is_the_shortest(value: int, code: str) -> None:
    assert aml.integer(value).hex() == code


def test_name_is_padded() -> None:
    assert aml.name("_SB") == b"_SB_"


def test_name_that_is_none() -> None:
    with pytest.raises(ValueError, match="not an ACPI name"):
        aml.name("TOOLONG")


def test_eisa_id() -> None:
    # EisaId ("PNP0501") is 0x0105D041, as iasl compiles it.
    assert aml.eisa_id("PNP0501") == b"\x0c\x41\xd0\x05\x01"


def test_every_digit_of_an_eisa_id_counts() -> None:
    # I is 9, N 14, T 20, in five bits each (ACPI 6.5, 19.3.4).
    assert aml.eisa_id("INT3400") == b"\x0c\x25\xd4\x34\x00"


def test_an_integer_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="0x10000000000000000 has more than 64 bits"):
        aml.integer(1 << 64)


def decoded(code: bytes) -> tuple[int, int]:
    """A PkgLength's value and its own size (ACPI 6.5, 20.2.4)."""
    follow = code[0] >> 6
    if not follow:
        return code[0], 1
    return code[0] & 0xF | int.from_bytes(code[1 : 1 + follow], "little") << 4, 1 + follow


@given(st.integers(0, (1 << 28) - 5))
def test_package_length_counts_itself(size: int) -> None:
    code = aml.package_length(size)
    assert decoded(code) == (size + len(code), len(code))


@pytest.mark.parametrize(
    ("size", "code"),
    [
        (62, "3f"),
        (63, "4104"),
        (4093, "4fff"),
        (4094, "810001"),
        (5000, "8b3801"),
        (1048572, "8fffff"),
        (1048573, "c1000001"),
    ],
)
def test_package_length_is_the_shortest(size: int, code: str) -> None:
    assert aml.package_length(size).hex() == code


def test_package_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="too long"):
        aml.package_length(1 << 28)


def test_resources_end_with_a_tag() -> None:
    assert aml.resources(aml.io(0x3F8, 8), aml.irq(4)).hex(" ") == "11 10 0a 0d 47 01 f8 03 f8 03 01 08 22 10 00 79 00"


def test_string_ends_with_nul() -> None:
    assert aml.string("LNRO0005").hex() == "0d4c4e524f3030303500"


def test_memory_below_4_gib() -> None:
    # Memory32Fixed (ReadWrite, 0xD0000000, 0x200) (ACPI 6.5, 6.4.3.4)
    assert aml.memory(0xD0000000, 0x200).hex() == "86090001000000d000020000"


def test_interrupt_of_any_number() -> None:
    # Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {16} (ACPI 6.5, 6.4.3.6)
    assert aml.interrupt(16).hex() == "890600030110000000"
