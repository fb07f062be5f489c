"""Names of devices in traces: "serial0" is the first of the kind "serial", "web/serial0" that of the machine "web"."""

from functools import lru_cache


@lru_cache
def kind_of(device: str) -> str:
    """The kind of a device by its name, which is the kind and a number; of kinds that end in digits, "i8042-0"."""
    return device.rpartition("/")[2].rstrip("0123456789").removesuffix("-") or device


def called(device: str) -> tuple[str, ...]:
    """What a device may be called: its name and its kind, with and without the machine's name of a merged trace."""
    machine, slash, name = device.rpartition("/")
    return device, name, machine + slash + kind_of(device), kind_of(device)
