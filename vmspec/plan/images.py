"""Images in guest memory (virtio-pmem): where they lie."""

from vmspec import layout
from vmspec.devices.device import ADDRESSES
from vmspec.devices.virtio import VirtioPmem
from vmspec.image import foreign
from vmspec.image.source import ImageError, opened
from vmspec.plan.calls import Slot
from vmspec.plan.plan import PlannedDevice, PlannedFile
from vmspec.schema.problems import Problem
from vmspec.schema.units import format_size
from vmspec.spec.models import Spec

HEADER = 512  # bytes in which other formats of disks say what they are


def placed(
    spec: Spec, slots: tuple[Slot, ...], devices: tuple[PlannedDevice, ...], problems: list[Problem]
) -> tuple[tuple[PlannedDevice, ...], tuple[Slot, ...], tuple[PlannedFile, ...]]:
    """The devices, those with an image with its ``start`` and ``size`` in guest memory; its slots; and its files.

    Each image lies above RAM, at the first place that no device's registers have. Its size is rounded up."""
    made = list(devices)
    mapped: list[Slot] = []
    files: list[PlannedFile] = []
    taken = [
        (region.start, region.start + region.size)
        for device in devices
        for region in device.regions
        if region.space == "mmio" and region.start is not None
    ]
    end = max(layout.HOLE_END, *(slot.start + slot.size for slot in slots))
    for index, model in enumerate(spec.devices):
        if not isinstance(model, VirtioPmem):
            continue
        key = f"device[{index}].path"
        try:
            with opened(model.path) as source:
                if why := foreign.disk(source.start(HEADER)):
                    raise ImageError(why)
                length, version = source.size, source.version
        except ImageError as error:
            problems.append(Problem(key, str(error), str(model.path)))
            continue
        size = _up(length, layout.IMAGE_SIZE_ALIGNMENT)
        start = _free(_up(end, layout.IMAGE_ALIGNMENT), size, taken)
        if start + size > ADDRESSES:
            message = f"has {format_size(length)}, more than is left of the guest's address space"
            problems.append(Problem(key, message, str(model.path)))
            continue
        taken.append((start, start + size))
        mapped.append(Slot(len(slots) + len(mapped), start, size, 0, model.path))
        files.append(PlannedFile(f"{devices[index].name}/path", model.path, version))
        options = {**devices[index].options, "start": start, "size": size}
        made[index] = devices[index]._replace(options=options)
    return tuple(made), tuple(mapped), tuple(files)


def _up(number: int, alignment: int) -> int:
    return -(-number // alignment) * alignment


def _free(start: int, size: int, taken: list[tuple[int, int]]) -> int:
    """The first place for so many bytes from ``start`` on."""
    for first, end in sorted(taken):
        if first < start + size and start < end:
            start = _up(end, layout.IMAGE_ALIGNMENT)
    return start
