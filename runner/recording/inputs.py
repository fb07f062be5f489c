"""Inputs on their way to the recorder."""

import threading
from contextlib import suppress

from runner.recording.channel import Channel
from vmspec.trace.inputs import Input


class InputSender:
    """Sends each input as it comes in, before it has its effect: of a VMM that is killed the recorder has them all.

    Those that come before the recorder knows of the run wait for :meth:`open`.
    """

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._waiting: list[Input] = []
        self._lock = threading.Lock()

    def put(self, row: Input) -> None:
        """Send an input; what has become of a recorder that has gone is heard elsewhere."""
        with self._lock:
            self._waiting.append(row)
            self._send()

    def open(self, channel: Channel) -> None:
        """The recorder takes them on the run's channel from now on."""
        with self._lock:
            self._channel = channel
            self._send()

    def _send(self) -> None:
        if self._channel is not None and self._waiting:
            rows, self._waiting = self._waiting, []
            with suppress(OSError):
                self._channel.send({"inputs": rows})
