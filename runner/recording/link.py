"""One run's channel to the recorder."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.recording import process


class Link:
    """A run that was handed over to the recorder, with the ring file, its eventfds and the trace's folder as
    ``descriptors``.

    Raises OSError if the recorder cannot be started. Only :meth:`listen` reports that it has gone since.
    """

    def __init__(
        self, path: Path, descriptors: Sequence[int], *, rows: Sequence[str], transfers: bool = False, early: bool
    ) -> None:
        """``rows``: the tables that are there even without a row that is told. ``transfers``: the descriptors of a ring
        of transfers are before the folder's. ``early``: the guest does not run yet, and the recorder reports when it is
        ready; see :meth:`ready`."""
        values = {"path": str(path), "rows": tuple(rows), "transfers": transfers, "early": early}
        self._process, self._channel = process.begin(values, descriptors)

    def ready(self) -> None:
        """Wait until the recorder has loaded what it needs."""
        self._channel.receive()

    def tell(self, descriptors: Sequence[int] = (), **values: Any) -> None:
        """Send one value by its name; see :mod:`runner.recording.recorder`."""
        with suppress(OSError):
            self._channel.send(values, descriptors)

    def listen(self, failed: Callable[[str], None]) -> dict[str, Any]:
        """Wait until the recorder is done with the run, and return its last message. ``failed`` is called with the
        reason as soon as it is known that there will be no trace."""
        while (message := self._channel.receive()) is not None:
            match message.values:
                case {"done": done}:
                    if "failed" in done:
                        failed(done["failed"])
                    return dict(done)
                case {"failed": text}:
                    failed(text)
        text = f"the recorder {self._process.fate()}"
        failed(text)
        return {"failed": text, "gone": True}

    def finish(self) -> None:
        """Send no more."""
        self._channel.finish()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
