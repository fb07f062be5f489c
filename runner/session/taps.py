"""Who else gets what a port prints, while it prints it: consoles that are attached to a running machine."""

import threading
from collections.abc import Callable

TAIL = 4096  # newest bytes that one who attaches gets first


class Tap:
    """What one port prints. A reader is called in the thread that prints, and must not wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tail = bytearray()
        self._readers: list[Callable[[bytes], None]] = []

    def printer(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """The function that the port prints with; it passes all on to ``write``, which may wait."""

        def tapped(data: bytes) -> None:
            with self._lock:
                self._tail += data
                if len(self._tail) > 2 * TAIL:
                    del self._tail[:-TAIL]
                for reader in self._readers:
                    reader(data)
            write(data)

        return tapped

    def attach(self, reader: Callable[[bytes], None]) -> None:
        """Call it with the newest text, and from now on with all that is printed."""
        with self._lock:
            if self._tail:
                reader(bytes(self._tail[-TAIL:]))
            self._readers.append(reader)

    def detach(self, reader: Callable[[bytes], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._readers.remove(reader)
