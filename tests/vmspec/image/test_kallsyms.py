"""The kernel's own symbol tables, found in its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.image.kallsyms_tables import BASE, tables
from vmspec.image import kallsyms

SYMBOLS = [(at, f"Aper_cpu{at}") for at in range(0, 64, 16)] + [
    (BASE + 16 * at, f"Tio_serial_{at}" + "x" * (at % 150)) for at in range(1000)
]
FOUND = [(address, name[1:]) for address, name in SYMBOLS if address >= BASE]
LAYOUTS = ["6.1", "6.2", "6.12"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_of_every_order_are_found(layout):
    assert kallsyms.find(tables(SYMBOLS, layout)) == FOUND


@pytest.mark.parametrize("layout", LAYOUTS)
def test_offsets_without_per_cpu_ones(layout):
    plain = [(address, name) for address, name in SYMBOLS if address >= BASE]
    assert kallsyms.find(tables(plain, layout, percpu=False)) == FOUND


@given(st.integers(257, 2000), st.sampled_from(LAYOUTS))
def test_any_number_of_symbols(number, layout):
    symbols = [(BASE + 8 * at, f"t{at:x}") for at in range(number)]
    assert len(kallsyms.find(tables(symbols, layout))) == number


def test_addresses_that_do_not_rise_are_no_symbols():
    assert kallsyms.find(tables(SYMBOLS[:500] + SYMBOLS[:500:-1])) == []


def test_a_base_outside_the_kernel_is_none():
    assert kallsyms.find(tables([(address & 0xFFFF_FFFF, name) for address, name in SYMBOLS], base=0x81000000)) == []


@pytest.mark.parametrize("data", [b"", kallsyms.DIGITS, kallsyms.DIGITS * 100, bytes(5000) + kallsyms.DIGITS])
def test_bytes_without_tables_have_no_symbols(data):
    assert kallsyms.find(data) == []


@pytest.mark.long
@given(st.data(), st.sampled_from(LAYOUTS))
def test_mutated_tables_are_found_or_not(data, layout):
    image = bytearray(tables(SYMBOLS[:600], layout))
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(image), data.draw(st.integers(0, len(image)))]))
    kallsyms.find(bytes(image[:cut]))
