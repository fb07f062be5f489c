"""Device models. To add one: its spec class in vmspec, its model here, a row in the table, a test."""

from importlib import import_module
from typing import Any

from runner.devices.device import Board, Device, DeviceError, MapError
from runner.devices.services import Bus, Clock, Interrupt, Memory, MessageInterrupt, Services
from runner.devices.state import State, StateError, bits, flag, number, number_or_none, octets, one_of
from vmspec.plan.plan import PlannedDevice

__all__ = [
    "Board",
    "Bus",
    "Clock",
    "Device",
    "DeviceError",
    "Interrupt",
    "MapError",
    "Memory",
    "MessageInterrupt",
    "Services",
    "State",
    "StateError",
    "bits",
    "flag",
    "make",
    "number",
    "number_or_none",
    "octets",
    "one_of",
]

# From the kind in the spec to its class. The class's module is imported when a spec has such a device.
TABLE = {
    "serial": ("serial", "Serial"),
    "i8042": ("i8042", "I8042"),
    "i8259": ("i8259", "I8259"),
    "i8254": ("i8254", "I8254"),
    "tsc": ("tsc", "TSC"),
    "rtc": ("rtc", "RTC"),
    "acpi": ("acpi", "ACPI"),
    "debug-port": ("debug", "DebugPort"),
    "post-port": ("debug", "PostPort"),
    "debug-exit": ("debug", "DebugExit"),
    "pvpanic": ("pvpanic", "Pvpanic"),
    "vmgenid": ("vmgenid", "Vmgenid"),
    "flash": ("flash", "Flash"),
    "fw-cfg": ("fwcfg", "FwCfg"),
    "python": ("own", "Own"),
    "pci-host": ("pci.host", "HostBridge"),
    "lpc": ("pci.lpc", "LPC"),
    "virtio-rng": ("virtio.rng", "Rng"),
    "virtio-console": ("virtio.console", "Console"),
    "virtio-blk": ("virtio.blk", "Blk"),
    "virtio-net": ("virtio.net", "Net"),
    "virtio-vsock": ("virtio.vsock", "Vsock"),
    "virtio-pmem": ("virtio.pmem", "Pmem"),
    "virtio-python": ("virtio.own", "Own"),
    "virtio-balloon": ("virtio.balloon", "BalloonDevice"),
    "virtio-fs": ("virtio.vhostuser", "FS"),
    "vhost-user": ("virtio.vhostuser", "VhostUser"),
}


def make(planned: PlannedDevice, board: Board) -> Device:
    """Make the model of a planned device. Raises DeviceError."""
    module, name = TABLE[planned.kind]
    cls: Any = getattr(import_module(f"runner.devices.{module}"), name)
    device: Any = cls.make(planned.options, board)
    if planned.transport is not None:
        transport = import_module(f"runner.devices.virtio.{planned.transport}")
        device = transport.connect(device, planned, lambda text: board.notice(f"{planned.name}: {text}"))
    made: Device = device
    return made
