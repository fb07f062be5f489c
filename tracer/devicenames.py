"""Names of devices in traces: "serial0" is the first of the kind "serial", "web/serial0" that of the machine "web"."""

from functools import lru_cache

from vmspec.devices import KINDS


@lru_cache
def kind_of(device: str) -> str:
    """The kind of a device by its name, which is the kind and a number; kinds may end in digits themselves (i8042)."""
    name = device.rpartition("/")[2]
    known = [kind for kind in KINDS if name.startswith(kind) and name[len(kind) :].isdigit()]
    return max(known, key=len) if known else name.rstrip("0123456789")


def called(device: str) -> tuple[str, ...]:
    """What a device may be called: its name and its kind, with and without the machine's name of a merged trace."""
    machine, slash, name = device.rpartition("/")
    return device, name, machine + slash + kind_of(device), kind_of(device)
