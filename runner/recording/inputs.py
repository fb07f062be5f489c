"""Inputs on their way to the recorder."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.recording.link import Link
    from vmspec.trace.inputs import Input


class InputSender:
    """Sends each input as it comes in, before it has its effect: of a VMM that is killed the recorder has them all.

    Those that come before the recorder knows of the run wait for :meth:`open`.
    """

    def __init__(self) -> None:
        self._link: Link | None = None
        self._waiting: list[Input] = []
        self._lock = threading.Lock()

    def put(self, row: "Input") -> None:
        """Send an input; what has become of a recorder that has gone is heard elsewhere."""
        with self._lock:
            self._waiting.append(row)
            self._send()

    def open(self, link: "Link") -> None:
        """The recorder takes them from now on."""
        with self._lock:
            self._link = link
            self._send()

    def _send(self) -> None:
        if self._link is not None and self._waiting:
            rows, self._waiting = self._waiting, []
            self._link.tell(inputs=rows)
