"""Symbols of files of any kind."""

import pytest

from tests.vmspec.image.images import bzimage, elf, gzipped, sized
from tests.vmspec.image.kallsyms_tables import BASE, tables
from vmspec.image.source import ImageError
from vmspec.image.symbols import read


def kernel():
    """An ELF without a symbol table whose code carries the kernel's own."""
    symbols = [(BASE + 16 * at, f"Tio_{at}") for at in range(600)]
    body = tables(symbols)
    return elf((0x1000000, BASE, body, len(body)))


def test_an_elf_kernel_tells_its_own_symbols(tmp_path):
    (tmp_path / "vmlinux").write_bytes(kernel())
    symbols = read(tmp_path / "vmlinux")
    assert symbols.at(BASE + 0x21) == ("io_2", 1)
    assert symbols.virtual(0x1000020) == BASE + 0x20
    assert symbols.virtual(0x20) is None


def test_a_bzimage_has_those_of_the_kernel_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "vmlinuz").write_bytes(bzimage(gzipped(kernel())))
    assert read(tmp_path / "vmlinuz").at(BASE + 0x21) == ("io_2", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (elf(), "has no symbols"),
        (b"ffffffffffffffff B The real System.map is in another package\n", "line 1 is not ADDRESS TYPE NAME"),
        (b"ffffffff81000000 T _text\nzz T x\n", "line 2 does not begin with an address"),
        (b"\0" * 100, "not a symbol file"),
        (bzimage(sized(b"????" * 100, b"x")), "cannot be unpacked"),
    ],
)
def test_a_file_without_symbols_says_why(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read(tmp_path / "file")


def test_proc_kallsyms_names_modules_too(tmp_path):
    (tmp_path / "map").write_text("ffffffffc0000000 t probe\t[virtio]\nffffffffc0000100 t end\t[virtio]\n")
    assert read(tmp_path / "map").at(0xFFFFFFFFC0000004) == ("probe", 4)
