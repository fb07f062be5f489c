import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.session.symbols import symbol_at
from vmspec.image import symbols

MAP = """\
ffffffff81000000 T _text
ffffffff81000100 t start_kernel
ffffffff81000200 T do_one
ffffffff81000300 B _end
"""


@pytest.fixture
def system_map(tmp_path):
    path = tmp_path / "System.map"
    path.write_text(MAP)
    return path


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81000000, "_text+0x0"),
        (0xFFFFFFFF810001FF, "start_kernel+0xff"),
        (0xFFFFFFFF81000200, "do_one+0x0"),
        (0xFFFFFFFF80FFFFFF, None),  # before the first
        (0xFFFFFFFF81000300, None),  # at the last: nothing says how long it is
    ],
)
def test_system_map(system_map, address, name):
    assert symbol_at([system_map], address) == name


@pytest.fixture(scope="module")
def elf(tmp_path_factory):
    directory = tmp_path_factory.mktemp("elf")
    source, path = directory / "k.s", directory / "vmlinux"
    source.write_text(
        ".globl _start\n_start: nop\n nop\n.globl later\nlater: nop\n .data\n.globl things\nthings: .long 0\n"
    )
    subprocess.run(["as", "-o", directory / "k.o", source], check=True)
    subprocess.run(["ld", "-Ttext=0x100000", "-Tdata=0x200000", "-o", path, directory / "k.o"], check=True)
    return path


def test_elf(elf):
    assert symbol_at([elf], 0x100001) == "_start+0x1"


def test_a_symbol_file_comes_before_the_kernel(elf, system_map):
    assert symbol_at([system_map, elf], 0xFFFFFFFF81000101) == "start_kernel+0x1"


def test_the_kernel_where_there_is_no_symbol_file(elf, tmp_path):
    assert symbol_at([tmp_path / "none", elf], 0x100002) == "later+0x0"


def test_a_flat_guest_has_no_names():
    assert symbol_at([], 0x1000) is None


def test_a_large_file_is_not_read(elf, monkeypatch):
    monkeypatch.setattr(symbols, "LIMIT", 100)
    assert symbol_at([elf], 0x100001) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x7fELF", b"0"]), st.integers(0, (1 << 64) - 1))
def test_no_file_is_an_error(tmp_path_factory, rest, start, address):
    path = tmp_path_factory.getbasetemp() / "symbols"
    path.write_bytes(start + rest)
    symbol_at([path], address)  # a name or none, but no exception


@given(st.data())
def test_no_damaged_elf_is_an_error(elf, tmp_path_factory, data):
    image = bytearray(elf.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(4, len(image) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(image)
    symbol_at([path], 0x100001)
