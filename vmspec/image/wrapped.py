"""Kernels within other files: a compressed kernel, and a unified kernel image (UKI).

A UKI is an EFI program whose sections are a kernel, an initrd and a command line (UAPI Group, "Unified Kernel Image").
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from vmspec.image import compression, foreign, multiboot, pe
from vmspec.image.compression import Payload
from vmspec.image.source import ImageError, Source
from vmspec.image.unpack import CannotUnpackError, Part, cached

CPU = "x86-64"  # of the UKIs that can be started
CMDLINE_MAX = 1 << 16  # bytes; Linux takes fewer


class Wrapped(NamedTuple):
    """The files of the parts, in the user's cache, and the name of the ``form`` of the file that they come from. Only a
    UKI has an initrd or a command line."""

    form: str
    kernel: Path
    initrd: Path | None = None
    cmdline: str = ""


def find(source: Source) -> Wrapped | None:
    """The kernel within a file that is none itself; None if the file is of no such form. Raises ImageError."""
    try:
        return _compressed(source) or _unified(source)
    except CannotUnpackError as error:
        raise ImageError(f"contains a kernel that cannot be unpacked: {error}") from error


def _compressed(source: Source) -> Wrapped | None:
    packed = compression.peek(source)
    if packed is None or not (foreign.kernel_name(packed[1]) or multiboot.find(packed[1])):
        return None
    part = Part(0, source.size, partial(compression.whole, source))
    return Wrapped(packed[0], cached(source, part))


def _unified(source: Source) -> Wrapped | None:
    head = source.start(foreign.HEAD)
    program = pe.read(head) if pe.recognise(head) else None
    if program is None or program.cpu != CPU or ".linux" not in program.sections:
        return None
    files = {name: _section(source, name, program.sections[name]) for name in (".linux", ".initrd")
             if name in program.sections}  # fmt: skip
    cmdline = ""
    if (text := program.sections.get(".cmdline")) is not None and text.size:
        if text.size > CMDLINE_MAX:
            raise ImageError(f"has a command line of {text.size} bytes")
        data = source.read(text.offset, text.size, "the section .cmdline")
        cmdline = data.rstrip(b"\0\n ").decode("utf-8", "replace")
    return Wrapped("a unified kernel image", files[".linux"], files.get(".initrd"), cmdline)


def _section(source: Source, name: str, section: pe.Section) -> Path:
    if not section.size or section.offset + section.size > source.size:
        raise ImageError(f"truncated: the section {name} ends at byte {section.offset + section.size}, the file has "
                         f"{source.size}")  # fmt: skip
    payload = partial(Payload, source, section.offset, section.size)
    return cached(source, Part(*section, lambda: iter(payload().read, b""), section.size))
