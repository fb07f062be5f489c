"""Names of devices in traces: "serial0" is the first of the kind "serial", "web/serial0" that of the machine "web"."""

from functools import lru_cache


@lru_cache
def kind_of(device: str) -> str:
    """A device's kind, from its name: kind and number; kinds that end in digits have a hyphen, "i8042-0"."""
    return device.rpartition("/")[2].rstrip("0123456789").removesuffix("-") or device


def called(device: str) -> tuple[str, ...]:
    """The names that match a device: its name and its kind, each with and without the machine's name in a merged
    trace."""
    machine, slash, name = device.rpartition("/")
    return device, name, machine + slash + kind_of(device), kind_of(device)
