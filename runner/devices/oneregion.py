"""User device classes written before devices had regions: their methods take an offset and no region.

They work for one release, with a warning. Such a class has one region, so an offset is enough. This module, and its use
in :mod:`runner.devices.own`, will be removed after that release.
"""

from collections.abc import Callable
from typing import Any

from runner.devices.device import Device
from runner.devices.services import Services
from runner.devices.state import State

# Methods that gained a region, and the number of arguments they had before, self included.
VERBS = {"publish": "shadow", "deliver": "writes", "latch": "shadow_writes", "urgent": "flush_at_once"}
HOW: dict[object, object] = {"queued": "coalesced", "discarded": "ignored"}
BEFORE = {"read": 3, "write": 4, "written": 4}


def is_old(cls: type[Device]) -> bool | None:
    """Whether a class has a method that takes no region; None if it has none of these methods."""
    own = [name for name in BEFORE if getattr(cls, name) is not getattr(Device, name)]
    codes = {name: getattr(getattr(cls, name), "__code__", None) for name in own}
    old = any(code is not None and code.co_argcount == BEFORE[name] for name, code in codes.items())
    return old if own else None


def adapter(cls: type[Device], region: str, warn: Callable[[], None]) -> Callable[..., Device]:
    """Return what makes the machine's device from the options of an old class. ``warn`` is called if the class calls
    the bus without a region."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}  # errors are located by this file
    inner: Any = type(cls.__name__, (cls, Before), names)
    outer: type[OneRegion] = type(
        cls.__name__, (OneRegion,), {"made_from": cls.made_from, "state_class": cls.state_class, **names}
    )
    return lambda **options: outer(inner(**options), region, warn)


class Before(Device):
    """The old forms of the methods that gained a region; an old class reaches them by ``super()``."""

    def read(self, offset: int, size: int) -> int:  # type: ignore[override]
        """Return all ones."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:  # type: ignore[override]
        """Ignore the write."""

    def written(self, offset: int, size: int, data: bytes) -> None:  # type: ignore[override]
        """Pass each item to :meth:`write`."""
        for at in range(0, len(data), size):
            self.write(offset, size, int.from_bytes(data[at : at + size], "little"))


class OneRegion(Device):
    """Adapts a device of an old class to the machine."""

    def __init__(self, inner: Any, region: str, warn: Callable[[], None]) -> None:
        self._inner, self._region, self._warn = inner, region, warn

    def attach(self, services: Services) -> None:
        self._inner.attach(services._replace(bus=OneRegionBus(services.bus, self._region, self._warn)))

    def read(self, region: str, offset: int, size: int) -> int:
        value: int = self._inner.read(offset, size)
        return value

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        self._inner.write(offset, size, value)

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        self._inner.written(offset, size, data)

    def room(self) -> int:
        room: int = self._inner.room()
        return room

    def receive(self, data: bytes) -> None:
        self._inner.receive(data)

    def tick(self) -> None:
        self._inner.tick()

    def reset(self) -> None:
        self._inner.reset()

    def save(self) -> State:
        state: State = self._inner.save()
        return state

    def load(self, state: State) -> None:
        self._inner.load(state)

    def close(self) -> None:
        self._inner.close()


class OneRegionBus:
    """A device's bus whose methods may be called without the region."""

    def __init__(self, bus: Any, region: str, warn: Callable[[], None]) -> None:
        self._bus, self._region, self._warn = bus, region, warn

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._bus, VERBS.get(name, name))
        if name not in ("publish", "deliver", "latch"):
            return method

        def call(*args: Any, **named: Any) -> None:
            if "region" not in named and not (args and isinstance(args[0], str)):
                self._warn()
                args = (self._region, *args)
            method(*(HOW.get(arg, arg) for arg in args), **{key: HOW.get(value, value) for key, value in named.items()})

        return call
