"""What the fixture ``vm`` is: it starts machines for one test."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.pytestplugin.guest import Guest


class Machines:
    """Starts machines. Specs are relative to ``folder``; traces are in ``place``."""

    def __init__(self, folder: Path, place: Path) -> None:
        self._folder, self._place = folder, place
        self._stack = ExitStack()
        self.guests: list[Guest] = []

    def start(
        self, spec: str | Path, *, overrides: Sequence[str] = (), trace: bool = True, locked: bool = False
    ) -> Guest:
        """Start the machine of a spec's file, with ``--set`` style overrides; return once its guest runs. The guest's
        console and its input belong to the :class:`Guest`. Raises what :func:`runner.start` raises."""
        recorded = self._place / f"{len(self.guests)}-{Path(spec).stem}.arrow"
        sets = (*overrides, f"trace.path={recorded}") if trace else tuple(overrides)
        guest = Guest(self._folder / spec, sets, record=trace, locked=locked)
        self._stack.callback(guest.stop)
        self.guests.append(guest)
        return guest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
