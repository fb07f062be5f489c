"""The state of a device as a tree: its registers by the names of its state class."""

from collections.abc import Mapping
from typing import Any

import attrs  # noqa: F401 - states need it at the first save(), while the machine stands still: 200 ms of import

from runner.control.inspection.tree import hexadecimal
from runner.devices.state import Bits, Octets, Part, Parts, State
from runner.memory import GuestMemory

SHOWN = 64  # bytes of a buffer


def plain(state: State, memory: GuestMemory) -> dict[str, Any]:
    """A state as a tree. Virtqueues that are ready also have the indices of the guest's rings, from its memory."""
    found: dict[str, Any] = {"version": state.version}
    for name, rule in type(state).rules().items():
        value = getattr(state, name)
        match rule:
            case Bits(mask):
                found[name] = hexadecimal(value, max(1, (mask.bit_length() + 7) // 8))
            case Part():
                found[name] = plain(value, memory)
            case Parts():
                found[name] = {str(number): plain(part, memory) for number, part in enumerate(value)}
            case Octets():
                found[name] = _octets(value)
            case _:
                found[name] = value
    return {**found, **_indices(state, memory)}


def _octets(value: bytes) -> str:
    more = f" … ({len(value):,} bytes)" if len(value) > SHOWN else ""
    return (value[:SHOWN].hex(" ") or "empty") + more


def _indices(state: Any, memory: GuestMemory) -> Mapping[str, int]:
    """What the rings of a split virtqueue say (virtio 1.2, 2.7): idx follows 16 bits of flags."""
    if type(state).__name__ != "QueueState" or not state.ready:
        return {}
    try:
        available, used = (int.from_bytes(memory.read(at + 2, 2), "little") for at in (state.driver, state.device))
    except ValueError:  # the driver's address is not RAM
        return {}
    taken, put = state.taken, state.put  # by the device, as the rings count
    return {
        "taken": taken,
        "put": put,
        "available": available,
        "used": used,
        "waiting": (available - taken) % (1 << 16),
    }
