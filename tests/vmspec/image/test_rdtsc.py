"""RDTSC instructions of an ELF kernel."""

import sys

import pytest

from tests.vmspec.image.images import elf, sectioned
from tests.vmspec.image.kallsyms_tables import BASE, tables
from vmspec.image import elf as elf_files
from vmspec.image import rdtsc
from vmspec.image.source import ImageError, opened

PHYSICAL, FUNCTION = 0x1000000, 16  # bytes of a function, at each of which there is a symbol
AT = 64 + 2 * 56  # of the code in the file
TABLES = tables([(BASE + FUNCTION * at, f"Tio_{at}") for at in range(600)])
HEADERS = AT + FUNCTION + len(TABLES)  # of the sections of a kernel with one function
CODE, ALLOCATED, NOBITS = 4, 2, 8  # SHF_EXECINSTR, SHF_ALLOC, SHT_NOBITS


def kernel(*functions, sections=None):
    """A kernel with these functions and the tables of their symbols."""
    code = b"".join(bytes.fromhex(text).ljust(FUNCTION, b"\xcc") for text in functions)
    program = elf((PHYSICAL, BASE, code, len(code)), (PHYSICAL + (1 << 20), BASE + (1 << 20), TABLES, len(TABLES)))
    return sectioned(program, *(sections or [(1, ALLOCATED | CODE, BASE, AT, len(code))]))


def found(folder, content):
    (folder / "vmlinux").write_bytes(content)
    with opened(folder / "vmlinux") as source:
        return rdtsc.sites(folder / "vmlinux", elf_files.read(source))


@pytest.mark.parametrize(
    ("function", "at"),
    [
        ("0f31 c3", [0]),
        ("0faee8 0f31 48c1e220 0f31 c3", [3, 9]),
        ("b8000f3100 c3", []),  # mov $0x310f00, %eax
        ("e9000f3100", []),  # jmp
        ("488d050f310000", []),  # lea 0x310f(%rip), %rax
        ("0f01f9 c3", []),  # rdtscp, which CPUID does not show
        ("90 0f", []),  # cut off
        ("b8 0f 31", []),
    ],
)
def test_an_instruction_begins_there(tmp_path, function, at):
    assert found(tmp_path, kernel("c3", function)) == tuple(PHYSICAL + FUNCTION + each for each in at)


def test_data_before_a_function_does_not_matter(tmp_path):
    assert found(tmp_path, kernel("c3" + 14 * "cc" + "b8", "0f31 c3")) == (PHYSICAL + FUNCTION,)


def test_code_without_symbols_is_read_from_its_start(tmp_path):
    code = "b8000f3100 0faee8 0f31"
    sections = [(1, ALLOCATED | CODE, BASE - 0x100000, AT, 10)]
    assert found(tmp_path, kernel(code, sections=sections)) == (PHYSICAL + 8,)


@pytest.mark.parametrize("section", [(1, ALLOCATED, BASE, AT, 16), (NOBITS, ALLOCATED | CODE, BASE, AT, 16)])
def test_only_sections_of_code_count(tmp_path, section):
    assert found(tmp_path, kernel("0f31", sections=[section])) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file[:40] + bytes(8) + file[48:], "no section headers"),
        (lambda file: file[:60] + b"\xff\xff" + file[62:], "truncated|larger than"),
        (lambda file: kernel("0f31", sections=[(1, CODE, BASE, AT, 1 << 24)]), "truncated"),
        # Its address in its own header is the instruction.
        (lambda file: kernel("", sections=[(1, CODE, 0x310F, HEADERS + 64 + 16, 2)]), "in no loaded segment"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, change, message):
    with pytest.raises(ImageError, match=message):
        found(tmp_path, change(kernel("0f31")))


def test_capstone_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "capstone", None)
    with pytest.raises(ImageError, match=r"vmrun\[disasm\]"):
        found(tmp_path, kernel("0f31"))
