"""Device models. To add one: its spec class in vmspec, its model here, a row in the table, a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.devices.acpi import ACPI
from runner.devices.debug import DebugExit, DebugPort, PostPort
from runner.devices.device import Attachment, Bus, Device, DeviceError, Line
from runner.devices.i8042 import I8042
from runner.devices.rtc import RTC
from runner.devices.serial import Serial
from vmspec.plan import PlannedDevice

__all__ = ["Attachment", "Bus", "Device", "DeviceError", "Line", "make"]


def _own(model: Any, directory: Path) -> Device:
    from runner.devices.own import load  # only such a spec pays for the import machinery

    return load(model.cls, directory, model.options)


# From the kind in the spec to how a device is made; what is given is the spec's model and directory.
TABLE: dict[str, Callable[[Any, Path], Device]] = {
    "serial": lambda model, directory: Serial(),
    "i8042": lambda model, directory: I8042(),
    "rtc": lambda model, directory: RTC(model.time),
    "acpi": lambda model, directory: ACPI(),
    "debug-port": lambda model, directory: DebugPort(),
    "post-port": lambda model, directory: PostPort(),
    "debug-exit": lambda model, directory: DebugExit(),
    "python": _own,
}


def make(planned: PlannedDevice, directory: Path) -> Device:
    """The device model for a planned device; ``directory`` is the spec's. Raises DeviceError."""
    return TABLE[planned.kind](planned.model, directory)
