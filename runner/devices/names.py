"""Names of Python's own modules. Code of a user's device runs in vmrun's process, and may delete or replace them.

Its files have builtins of their own (:func:`private`). What it changes elsewhere, on purpose or through a library,
changes vmrun itself: :class:`Interpreter` finds deleted builtins after each call, and the rest once something fails.
"""

import builtins
from types import ModuleType, TracebackType
from typing import Any

from runner.devices.device import DeviceError

_MISSING = object()


class ChangedError(DeviceError):
    """A device has deleted or replaced names of builtins; the message says which."""


class Names:
    """The names of a module as they are now: all of builtins, and the functions and classes of any other module."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module.__name__
        self._names = module.__dict__
        self._count = len(self._names)
        self._kept = {name: value for name, value in self._names.items() if name != "_"}  # of interactive programs
        if module is not builtins:
            self._kept = {name: value for name, value in self._kept.items() if callable(value)}

    def fewer(self) -> bool:
        """Whether the number of names has changed; for checks that must cost nothing."""
        return self._names.__len__() != self._count

    def restore(self) -> tuple[str, ...]:
        """Restore the names, and return those that had changed. A name that was added stays."""
        found: tuple[str, ...] = ()
        for name, value in self._kept.items():
            if self._names.get(name, _MISSING) is not value:
                self._names[name] = value
                found = (*found, name)
        self._count = self._names.__len__()
        return found


def private() -> ModuleType:
    """A copy of builtins for the code of a device's author. It gets the copy, too, when it imports builtins."""
    copy = ModuleType("builtins", builtins.__doc__)
    copy.__dict__.update(builtins.__dict__)
    usual = builtins.__import__

    def imported(name: str, *rest: Any, **named: Any) -> ModuleType:
        return copy if name == "builtins" else usual(name, *rest, **named)

    copy.__dict__["__import__"] = imported
    return copy


class Interpreter:
    """What vmrun shares with the code of a device's author: builtins, and the functions of ``modules``. Nothing, if no
    device has an author (``own``).

    As a context manager around such code, it restores builtins afterwards, and raises ChangedError if they had changed.
    """

    def __init__(self, *modules: ModuleType, own: bool = True) -> None:
        self._modules = [Names(module) for module in (builtins, *modules)] if own else []

    def lacking(self) -> ChangedError | None:
        """Restore builtins if names have been added or deleted, and return the error if they were deleted."""
        return self.error() if self._modules and self._modules[0].fewer() else None

    def error(self) -> ChangedError | None:
        """Restore builtins, and return the error if they had changed."""
        if not self._modules or not (found := self._modules[0].restore()):
            return None
        return ChangedError(f"changed {', '.join(f'builtins.{name}' for name in found)}")

    def restore(self) -> tuple[str, ...]:
        """Restore all names, and return those that had changed, each with its module."""
        changed: tuple[str, ...] = ()
        for names in self._modules:
            for name in names.restore():
                changed = (*changed, f"{names.module}.{name}")
        return changed

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if (changed := self.error()) is not None:
            raise changed from error
