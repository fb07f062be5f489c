"""Where flash memory lies: below the firmware, in the order of the file (QEMU, hw/i386/pc_sysfw.c)."""

from pathlib import Path

from vmspec import layout
from vmspec.devices.storage import Flash
from vmspec.image import ImageError, foreign, opened
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import flash as R
from vmspec.schema.problems import Problem
from vmspec.schema.units import format_size

HEADER = 512  # bytes in which other formats of disks say what they are


class Placing:
    """Gives each flash memory its place. ``slots`` are RAM and what is mapped beside it: firmware."""

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self._end = min((slot.start for slot in slots if slot.read_only), default=layout.FIRMWARE_END)

    def place(self, device: PlannedDevice, model: Flash, path: str, problems: list[Problem]) -> PlannedDevice:
        """The device with its region; ``path`` is its table in the spec."""
        fresh = model.template is not None and not model.path.exists()
        key, file = ("template", model.template) if model.template and fresh else ("path", model.path)
        try:
            size = _size(file)
        except ImageError as error:
            problems.append(Problem(f"{path}.{key}", str(error), str(file)))
            return device._replace(regions=())
        start = self._end - size
        if start < layout.FIRMWARE_END - layout.FIRMWARE_ROOM:
            room = format_size(layout.FIRMWARE_ROOM)
            message = f"has {size} bytes: firmware and flash memory have {room} below 4 GiB together"
            problems.append(Problem(f"{path}.{key}", message, str(file)))
            return device._replace(regions=())
        self._end = start
        return device._replace(regions=tuple(region._replace(start=start, size=size) for region in device.regions))


def notes(devices: tuple[PlannedDevice, ...]) -> tuple[str, ...]:
    """What becomes of each file. A plan with notes is not kept, so the sizes are those of the files at each run."""
    found = []
    for device in devices:
        if device.kind == "flash":
            path, template, mode = (device.options[key] for key in ("path", "template", "mode"))
            fresh = template is not None and not Path(path).exists()
            if mode == "overlay":
                text = f"begins as a copy of {template if fresh else path}, which ends with the run"
            elif fresh:
                text = f"is kept in {path}, which vmrun will make as a copy of {template}"
            else:
                text = f"is kept in {path}"
            found.append(f"{device.name} {text}")
    return tuple(found)


def _size(path: Path) -> int:
    """The size of a file with the contents of flash memory. Raises ImageError."""
    with opened(path) as source:
        if why := foreign.disk(source.start(HEADER)):
            raise ImageError(why)
        if source.size % R.BLOCK:
            raise ImageError(f"has {source.size} bytes; flash memory has whole blocks of {R.BLOCK}")
        return source.size
