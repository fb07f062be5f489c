"""Sends inputs to the recorder."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.recording.link import Link
    from vmspec.trace.inputs import Input


class InputSender:
    """Sends each input before it has its effect. If the VMM is killed, the recorder has them all.

    Inputs wait for :meth:`open` until the recorder knows of the run.
    """

    def __init__(self) -> None:
        self._link: Link | None = None
        self._waiting: list[Input] = []
        self._lock = threading.Lock()

    def put(self, row: "Input") -> None:
        """Send an input. :meth:`Link.listen` reports a recorder that has gone."""
        with self._lock:
            self._waiting.append(row)
            self._send()

    def open(self, link: "Link") -> None:
        """Send inputs from now on; the recorder takes them."""
        with self._lock:
            self._link = link
            self._send()

    def _send(self) -> None:
        if self._link is not None and self._waiting:
            rows, self._waiting = self._waiting, []
            self._link.tell(inputs=rows)
