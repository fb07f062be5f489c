"""Calls into a device's model, which may be a user's own: one call at a time, with every exception caught."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from runner.devices.names import Interpreter

if TYPE_CHECKING:
    from runner.machine.dma import DMA


class Asking:
    """A context manager around a call of one device's method. It holds the device's lock.

    ``failed`` is called with whatever the block raises, and the block counts as done: a user's device may raise
    anything, also SystemExit. ``interpreter``, for a user's device: builtins that it has deleted are restored, and that
    is an error; if it fails, all that it has changed is restored. ``dma`` keeps what the device writes to the guest's
    memory, by its ``index``.
    """

    __slots__ = ("_dma", "_failed", "_index", "_interpreter", "lock")

    def __init__(
        self,
        failed: Callable[[BaseException], None],
        interpreter: Interpreter | None,
        dma: "DMA | None" = None,
        index: int = 0,
    ) -> None:
        self.lock = threading.RLock()
        self._failed = failed
        self._interpreter = interpreter
        self._dma, self._index = dma, index

    def __enter__(self) -> None:
        self.lock.acquire()
        if self._dma is not None:
            self._dma.acts(self._index)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if self._interpreter is not None:
            changed = self._interpreter.lacking() if error is None else self._interpreter.error()
            if changed is not None:
                changed.__cause__ = error
                error = changed
            if error is not None:
                self._interpreter.restore()
        if self._dma is not None:
            self._dma.acted()
        self.lock.release()
        if error is not None:
            self._failed(error)
        return True
