"""Sends rows of a table that Python makes, such as inputs, to the recorder."""

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.recording.link import Link


class RowSender:
    """Sends each row at once. A row that is sent before its effect is in the table even if the VMM is killed.

    Rows wait for :meth:`open` until the recorder knows of the run.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._link: Link | None = None
        self._waiting: list[Any] = []
        self._lock = threading.Lock()

    def put(self, *rows: Any) -> None:
        """Send rows: named tuples of the table. :meth:`Link.listen` reports a recorder that has gone."""
        with self._lock:
            self._waiting += rows
            self._send()

    def open(self, link: "Link") -> None:
        """Send rows from now on; the recorder takes them."""
        with self._lock:
            self._link = link
            self._send()

    def _send(self) -> None:
        if self._link is not None and self._waiting:
            rows, self._waiting = self._waiting, []
            self._link.tell(rows=(self._table, rows))
