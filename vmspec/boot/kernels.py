"""Kernels, each by its boot protocol."""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from vmspec.boot import informed, linux
from vmspec.boot.protocol import choose
from vmspec.image import BzImage, Elf, ImageError, Multiboot, Source, elf, identify, opened
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedFile, Start
from vmspec.schema.problems import Problem
from vmspec.spec.models import Boot, Spec

if TYPE_CHECKING:
    from vmspec.image import Wrapped


def start(
    spec: Spec, source: Source, image: BzImage | Elf | Multiboot, slots: tuple[Slot, ...], problems: list[Problem]
) -> Start | None:
    """The start of the kernel ``image`` read from ``source``, which is ``spec.boot.kernel``; None: see problems."""
    path = spec.boot.kernel
    assert path is not None
    try:
        protocol = choose(image, spec.boot.protocol)
        if protocol.name == "linux":
            program = image.elf if isinstance(image, Multiboot) else image
            assert program is not None
            return linux.start(spec, source, program, slots, problems)
        if not isinstance(image, BzImage):
            return informed.start(spec, path, source.size, image, protocol, slots, problems)
        inner = _unpacked(source, image)
        with opened(inner) as kernel:
            found = informed.start(spec, inner, kernel.size, elf.read(kernel), protocol, slots, problems)
        return found and found._replace(image="bzimage", files=(*found.files, PlannedFile("unpacked", inner, None)))
    except ImageError as error:
        problems.append(Problem("boot.kernel", str(error), str(path)))
    return None


def _unpacked(source: Source, image: BzImage) -> Path:
    """The file of the kernel in a bzImage. Raises ImageError."""
    from vmspec.image.unpack import CannotUnpackError, unpacked

    try:
        return unpacked(source, image)
    except CannotUnpackError as error:
        raise ImageError(f"cannot be unpacked, and only the kernel in it has a PVH entry: {error}") from error


def unwrapped(spec: Spec, wrapped: "Wrapped", slots: tuple[Slot, ...], problems: list[Problem]) -> Start | None:
    """The start of the kernel within another file, which is ``spec.boot.kernel``. The spec's own initrd and command
    line take precedence over those of a unified kernel image."""
    given, found = spec.boot, list[Problem]()
    boot = evolve(
        given,
        kernel=wrapped.kernel,
        initrd=given.initrd or wrapped.initrd,
        cmdline=given.cmdline or wrapped.cmdline,
    )
    inner = None
    try:
        with opened(wrapped.kernel) as source:
            image = identify(source)
            if not isinstance(image, BzImage | Elf | Multiboot):
                raise ImageError("is of no known format")
            inner = start(evolve(spec, boot=boot), source, image, slots, found)
    except ImageError as error:
        found.append(Problem("boot.kernel", str(error)))
    problems += [_within(problem, given, wrapped) for problem in found]
    if inner is None:
        return None
    used = ["kernel"]
    if given.initrd is None and wrapped.initrd is not None:
        used.append("initrd")
    cmdline = inner.cmdline
    if not given.cmdline and wrapped.cmdline:
        used.append("command line")
        cmdline = boot.cmdline if cmdline is None else cmdline
    note = f"boot.kernel is {wrapped.form}; of it: {', '.join(used)}"
    files = (PlannedFile("unwrapped", wrapped.kernel, None), *(_made(file, wrapped) for file in inner.files))
    return inner._replace(files=files, notes=(note, *inner.notes), cmdline=cmdline)


def _within(problem: Problem, given: Boot, wrapped: "Wrapped") -> Problem:
    """A problem of the spec. It is with the file if the spec does not give what is wrong."""
    match problem.path:
        case "boot.kernel":
            part, advice = "kernel", ""
        case "boot.cmdline" if not given.cmdline and wrapped.cmdline:
            part, advice = "command line", "; boot.cmdline replaces it"
        case "boot.initrd" if given.initrd is None:
            part, advice = "initrd", "; boot.initrd replaces it"
        case _:
            return problem
    message = f"is {wrapped.form}; the {part} in it {problem.message}{advice}"
    return problem._replace(path="boot.kernel", message=message, value=str(given.kernel))


def _made(file: PlannedFile, wrapped: "Wrapped") -> PlannedFile:
    """A planned file, which may be a part of the wrapped image that vmspec has written."""
    return PlannedFile("unwrapped-initrd", file.path, None) if file.path == wrapped.initrd else file
