"""Virtio devices of the user's own: a class in a Python file beside the spec."""

from collections.abc import Mapping
from typing import Any

from runner.devices import own
from runner.devices.device import Board, DeviceError
from runner.devices.virtio.device import VirtioDevice

NUMBERS = range(1, 64)  # the device's number (5)
QUEUES = 64
LONGEST = 1024  # of a queue: VIRTQUEUE_SIZE of the walker in C
# The bits of a device's own (2.2): the rest belongs to all devices.
FEATURES = (1 << 24) - 1 | ((1 << 64) - 1) & ~((1 << 50) - 1)


class Own(VirtioDevice):
    """Represents every user class in the table of devices."""

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> VirtioDevice:
        name = options["class"]
        found, path = own.found(name, board, VirtioDevice, "runner.devices.virtio.VirtioDevice")
        device: VirtioDevice = own.made(name, path, found, options["options"])
        if (why := wrong(device)) is not None:
            raise DeviceError(f"device class {name}: {why}")
        return device


def wrong(device: VirtioDevice) -> str | None:
    """What is wrong with the numbers of a device, None: nothing."""
    number: Any = getattr(device, "number", None)
    sizes: Any = getattr(device, "queue_sizes", None)
    features: Any = getattr(device, "features", None)
    if not _is_number(number) or number not in NUMBERS:
        return f"number is {number!r}, not the number of a kind of virtio device, 1 to {NUMBERS.stop - 1}"
    if not isinstance(sizes, tuple | list) or not 1 <= len(sizes) <= QUEUES or not all(map(_is_size, sizes)):
        return f"queue_sizes is {sizes!r}, not the lengths of 1 to {QUEUES} queues, each a power of two up to {LONGEST}"
    if not _is_number(features) or features < 0 or features & ~FEATURES:
        return f"features is {features!r}, not bits 0 to 23 and 50 to 63: the rest belongs to all devices"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(size: Any) -> bool:
    return _is_number(size) and 1 <= size <= LONGEST and not size & size - 1
