"""What a plan's run reads, and the resolved spec without it."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from vmspec.devices import own
from vmspec.host.pathtext import to_text
from vmspec.plan.plan import Plan, PlannedDevice
from vmspec.schema.keypath import KeyPath, split
from vmspec.spec.fileuse import Named

DISKS = ("virtio-blk", "flash")  # kinds whose files are there before the run that writes them


class ImageFile(NamedTuple):
    """A file that a run reads: its name in traces and locks, and whether the guest writes to it."""

    name: str
    path: Path
    written: bool = False


def files(plan: Plan) -> Iterator[ImageFile]:
    """The images: regular files and block devices that the spec names and the run reads, without Python sources."""
    for path, named in _keys(plan):
        if _is_image(named, path, plan):
            yield ImageFile(image_name(path, plan.devices), named.path, named.writes)


def modules(plan: Plan) -> Iterator[tuple[str, Path]]:
    """The module of each Python device, by the device's name."""
    for path, named in _keys(plan):
        if path[-1] == "class":
            yield plan.devices[int(path[1])].name, named.path


def source(plan: Plan, device: str, file: Path) -> ImageFile:
    """A source file of a device."""
    return ImageFile(own.source(device, file, plan.classes), file)


def resolved(plan: Plan) -> dict[str, Any]:
    """The spec with its defaults and overrides, without what does not make the machine: where it is recorded, its lock,
    how it is tested, and the keys that name an image, whose content counts. Other paths are relative to the spec's
    directory."""
    table: dict[str, Any] = _copied(plan.spec)
    for name in ("lock", "test", "matrix"):
        table.pop(name, None)
    table.get("trace", {}).pop("path", None)
    table.get("boot", {}).pop("code", None)  # an image too
    for path, named in _keys(plan):
        if path[-1] == "class":
            continue
        *above, last = path
        holder: Any = table
        for step in above:
            holder = holder[step]
        # Of a CPU's model the lock has the CPUID. What a run is compared with does not make the run.
        if path[0] in ("cpu", "expect") or _is_image(named, path, plan):
            del holder[last]
        else:
            holder[last] = shown(named.path, plan)
    return table


def shown(path: Path, plan: Plan) -> str:
    """A path as text, relative to the spec's directory if it is below it."""
    return to_text(path.relative_to(plan.directory) if path.is_relative_to(plan.directory) else path)


def _keys(plan: Plan) -> Iterator[tuple[KeyPath, Named]]:
    """The files that keys of the spec name, but not where the run is recorded."""
    for named in plan.names:
        if not named.recording and named.key:
            yield split(named.where), named


def _is_image(named: Named, path: KeyPath, plan: Plan) -> bool:
    if path[-1] == "class" or path[0] in ("cpu", "expect") or (named.writes and _device(path, plan) not in DISKS):
        return False
    try:
        mode = os.stat(named.path).st_mode  # noqa: PTH116
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def _device(path: KeyPath, plan: Plan) -> str:
    """The kind of the device whose key it is."""
    return plan.devices[int(path[1])].kind if path[0] == "device" else ""


def image_name(path: KeyPath, devices: Sequence[PlannedDevice]) -> str:
    """The name of an image by its key, for a machine with these devices: ``kernel``, ``modules[0]``,
    ``virtio-blk0/path``, ``virtio-console0.result/input``."""
    match path:
        case ("boot", str(name)):
            return name
        case ("boot", str(name), int(number), "path"):
            return f"{name}[{number}]"
        case ("device", int(index), str(name)):
            return f"{devices[index].name}/{name}"
        case ("device", int(index), "ports", int(port), str(name)):
            return f"{devices[index].name}.{devices[index].ends[port + 1].name}/{name}"
        case _:
            raise ValueError(f"{path} names no image")


def _copied(value: Any) -> Any:
    """The table in dicts and lists of its own."""
    match value:
        case list() | tuple():
            return [_copied(part) for part in value]
        case _ if hasattr(value, "items"):
            return {name: _copied(part) for name, part in value.items()}
        case _:
            return value


def size(path: Path) -> int:
    """The size of a regular file or a block device in bytes; 0 if it cannot be opened."""
    try:
        with opened(path) as (_, length):
            return length
    except OSError:
        return 0


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """The descriptor and the size of a regular file or a block device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise OSError(0, "is not a file any more: run the command again")
        yield descriptor, os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
