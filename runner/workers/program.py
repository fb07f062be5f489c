"""The program of a worker: it makes calls for :mod:`runner.workers.pool`, one after another, in its main thread.

If the channel ends, the process that started it stops or has died: the run that is under way ends as by Ctrl-C, and the
worker after it.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from runner.recording.channel import Channel

PATIENCE = 10.0  # seconds that a run may take to end
FAILED = 1
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def main(arguments: list[str]) -> None:
    """Serve the channel whose descriptor is the argument, until it ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    calls: SimpleQueue[Call | None] = SimpleQueue()
    threading.Thread(target=_receive, args=(channel, calls), daemon=True).start()
    with suppress(KeyboardInterrupt, OSError):  # OSError: nobody wants the answer any more
        while (call := calls.get()) is not None:
            channel.send(_answer(*call))


def _receive(channel: Channel, calls: "SimpleQueue[Call | None]") -> None:
    while (message := channel.receive()) is not None:
        calls.put(message.values["call"])
    calls.put(None)
    os.kill(os.getpid(), signal.SIGINT)  # in Python's main thread, and for a run: see runner.signals
    threading.Event().wait(PATIENCE)
    os._exit(FAILED)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": function(*arguments, **options)}
    except Exception as error:
        error.add_note("in a worker process")
        return {"error": error}


if __name__ == "__main__":
    main(sys.argv[1:])
