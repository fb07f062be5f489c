"""The plan of a machine that goes on from a snapshot."""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.snapshot.contents import Contents
from runner.snapshot.errors import SnapshotError
from vmspec.host.pathtext import from_text
from vmspec.image.source import version
from vmspec.plan.plan import Plan, PlannedDevice, PlannedFile
from vmspec.plan.settings import PlannedExpect, PlannedLock
from vmspec.registers.vmgenid import SIZE
from vmspec.schema import overrides as override
from vmspec.schema.expressions import texts
from vmspec.schema.keypath import join
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.units import parse_duration
from vmspec.spec.fileuse import SNAPSHOT, Named, conflicts, uses

KEYS = (
    "vm.name, vm.timeout, trace.path, the path of a disk or of flash memory, the seed of virtio-rng, and the "
    "generation of vmgenid"
)


def planned(contents: Contents, snapshot: Path, overrides: Sequence[str] | str, directory: Path) -> Plan:
    """The plan: that of the ``snapshot``, with what the overrides change. Relative paths begin in ``directory``.

    It records only if they name a trace, expects nothing, since the guest has done a part of that already, and needs no
    file that is in the guest's memory by now. Raises SpecError for a key that no longer can be changed."""
    plan = contents.plan.unrecorded()
    plan = plan._replace(devices=tuple(_generation(device, plan.time.kind) for device in plan.devices))
    plan = plan._replace(expect=PlannedExpect(), lock=PlannedLock(), files=tuple(filter(_is_needed(plan), plan.files)))
    for expression in texts(overrides):
        try:
            key, value = override.parse(expression)
            plan = _changed(plan, key, value, directory)
        except ValueError as error:
            raise SpecError((Problem("--set", f"{expression}: {error}"),)) from error
    plan = plan._replace(overrides=(*plan.overrides, *texts(overrides)), names=(*plan.names, Named(SNAPSHOT, snapshot)))
    if problems := [Problem(where, message) for where, message in conflicts(uses(plan.names))]:
        raise SpecError(tuple(problems))
    return plan


def _generation(device: PlannedDevice, time: str) -> PlannedDevice:
    """A generation ID with another generation; with virtual time, the same one for each run from a snapshot."""
    if device.kind != "vmgenid":
        return device
    after = generation(device.options["generation"], b"" if time == "virtual" else secrets.token_bytes(SIZE))
    return device._replace(options={**device.options, "generation": after})


def generation(before: str, seed: bytes) -> str:
    """The generation that follows another one and a seed, as hexadecimal digits."""
    return hashlib.sha256(bytes.fromhex(before) + seed).digest()[:SIZE].hex()


def explicit(overrides: Sequence[str] | str) -> set[str]:
    """The keys that overrides set, as people write them."""
    return {join(override.parse(expression)[0]) for expression in texts(overrides)}


def _is_needed(plan: Plan) -> Callable[[PlannedFile], bool]:
    """Which of the plan's files are read again: those that devices use, and those that are mapped. The others serve
    the crash report, as long as they are what they were."""
    mapped = {slot.path for slot in plan.mapped}
    all_of_them = plan.device("fw-cfg") is not None

    def is_needed(file: PlannedFile) -> bool:
        return all_of_them or "/" in file.name or file.path in mapped or _is_as_it_was(file)

    return is_needed


def _is_as_it_was(file: PlannedFile) -> bool:
    try:
        with file.path.open("rb") as opened:
            return file.version is None or version(opened.fileno())[:5] == file.version[:5]
    except OSError:
        return False


def _changed(plan: Plan, key: tuple[str | int, ...], value: Any, directory: Path) -> Plan:
    """The plan with another value of a key. Raises ValueError."""
    match key, value:
        case ("vm", "name"), str() if value:
            return plan._replace(vm=plan.vm._replace(name=value))
        case ("vm", "timeout"), str():
            return plan._replace(vm=plan.vm._replace(timeout=parse_duration(value)))
        case ("trace", "path"), str() if value:
            return plan.recorded(directory / from_text(value))
        case ("device", int(number), str(name)), _ if number < len(plan.devices):
            device = plan.devices[number]
            options = {**device.options, name: _option(device, name, value, directory)}
            devices = list(plan.devices)
            devices[number] = device._replace(options=options)
            where = join(key)
            names = [named._replace(path=options[name]) if named.where == where else named for named in plan.names]
            return plan._replace(devices=tuple(devices), names=tuple(names))
    raise ValueError(f"a machine that goes on from a snapshot takes {KEYS}")


def _option(device: PlannedDevice, name: str, value: Any, directory: Path) -> Any:
    """The value of a device's option. Raises ValueError."""
    match name, device.options, value:
        case "path", _, str() if device.kind in ("virtio-blk", "flash") and value:
            return directory / from_text(value)
        case "seed", {"seed": _}, int() if device.kind == "virtio-rng" and 0 <= value < 1 << 64:
            return value
        case "generation", _, str() if device.kind == "vmgenid" and re.fullmatch(f"[0-9A-Fa-f]{{{2 * SIZE}}}", value):
            return value
    raise ValueError(f"{device.name} takes no such {name} here")


def checked(plan: Plan, snapshot_files: Mapping[str, tuple[int, int]], skipped: set[str]) -> None:
    """Whether the files that the guest writes to are as they were when the snapshot was taken. Raises SnapshotError."""
    for index, device in enumerate(plan.devices):
        where = f"device[{index}].path"
        if where not in snapshot_files or where in skipped:
            continue
        path = Path(device.options["path"])
        try:
            status = path.stat()
        except OSError as error:
            raise SnapshotError(f"{where}: {path} cannot be read: {error.strerror}") from error
        if (status.st_size, status.st_mtime_ns) != snapshot_files[where]:
            raise SnapshotError(
                f"{where}: {path} has been written to since the snapshot was taken, so the guest would find another "
                f"disk than it left; copy it at the snapshot, and give the copy with --set {where}=FILE"
            )
