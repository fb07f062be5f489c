"""Traces as they grow: the batches of a stream while it is written, to its closing summary.

A recorder appends to ``boot.arrows``, at least once a second while there are exits. At the end it writes ``boot.arrow``
and unlinks the stream. A follower that has the stream open reads it to its end, with the summary. A partly written
message is left until the rest has come. Following costs the machine nothing: it reads a file.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tracer.format.errors import TraceError
from tracer.format.fitting import Fitting
from tracer.format.messages import NAMES_BYTES_MAX, CutError, DamageError, Seals, check_declared, next_message
from tracer.format.paths import lock, open_regular
from tracer.format.rowfile import checked, damage
from tracer.read.metadata import read_devices, read_metadata, read_summary
from tracer.read.reader import Trace, load
from tracer.read.tablefile import fitted
from vmspec.trace import keys
from vmspec.trace.files import ring_path, stream_path, trace_path
from vmspec.trace.record import EXITS

POLL = 0.1  # seconds between checks of a stream without anything new
QUIET = 2.0  # seconds without anything new before checking whether anyone still records


def follow(path: Path) -> "Follower":
    """Follow the run that records into a trace, given the future ``.arrow`` or the ``.arrows``.

    A finished trace is read to its end. Raises TraceError if there is neither.
    """
    stream = stream_path(path)
    try:
        return Follower(stream, open_regular(stream))
    except FileNotFoundError:
        if path == stream:  # the run may have ended meanwhile, or before
            names = (trace_path(stream), Path(str(stream).removesuffix(".arrows")))
            path = next((name for name in names if name.exists()), path)
    except OSError as error:
        raise TraceError(f"cannot open {stream}: {error.strerror}") from error
    return Follower(path, None, load(path))


class Follower:
    """A trace that may still grow. ``path`` is the file that is read.

    ``ended`` is True once everything has been read. ``summary`` is then the run's closing summary, or None if the run
    was killed. ``metadata`` and ``devices`` are known, as a :class:`tracer.Trace` has them, from the first batch on or
    after :meth:`started`.
    """

    def __init__(self, path: Path, descriptor: int | None, finished: Trace | None = None) -> None:
        self.path = path
        self.ended = False
        self.summary: dict[str, Any] | None = None
        self.metadata: dict[str, str] = {}
        self.devices: tuple[str, ...] = ()
        self.schema: Any = None
        self._fitting: Fitting | None = None
        self._descriptor = descriptor
        self._finished = finished.batches() if finished is not None else None
        self._offset = 0  # of the first unread message
        self._head = b""  # the messages that every batch needs: the schema, the dictionaries
        self._seals = Seals()
        self._abandoned = False  # nobody records any more, so nothing more will come
        self._quiet_since = time.monotonic()
        if finished is not None:
            self.metadata, self.devices, self.schema = finished.metadata, finished.devices, finished.schema
            self.summary = finished.summary

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def started(self, wait: Callable[[float], object] = time.sleep) -> None:
        """Wait until the stream has its beginning, so that ``metadata`` and ``devices`` are known."""
        while self.schema is None and not self.ended:
            if not self._peek():
                wait(POLL)
        if self.schema is None:
            raise TraceError(f"{self.path} is not a complete trace, and nobody is writing it")

    def batches(self, wait: Callable[[float], object] = time.sleep) -> Iterator[Any]:
        """The rows as ``pyarrow.RecordBatch`` objects; waits for more until the trace has ended.

        ``wait`` is called with the seconds to wait. Raises TraceError if the stream is damaged.
        """
        while not self.ended:
            batch = self.next()
            if batch is not None:
                yield batch
            elif not self.ended:
                wait(POLL)

    def next(self) -> Any | None:
        """The next batch with rows, None if there is none now; never waits."""
        if self._finished is not None:
            batch = next(self._finished, None)
            self.ended = batch is None
            return batch
        while not self.ended:
            if (message := self._message()) is None:
                self._look_around()
                return None
            batch = self._take(*message)
            if batch is not None and batch.num_rows:
                return batch
        return None

    def _peek(self) -> bool:
        """Read what comes before the first batch; return whether anything was there."""
        message = self._message()
        if message is None:
            self._look_around()
            return False
        kind, data = message
        if kind != "schema":
            raise TraceError(f"{self.path} is damaged: it does not begin with a schema")
        self._take(kind, data)
        return True

    def _message(self) -> tuple[str, bytes] | None:
        """The next whole message of the stream and its bytes, None if it is not whole yet; at the end, "end"."""
        assert self._descriptor is not None
        try:
            size = os.fstat(self._descriptor).st_size
            message = next_message(self._read, self._offset, size)
            raw = self._read(self._offset, message.size)
            if message.kind != "end":
                check_declared(message, raw)
                self._seals.check(message, raw)
        except CutError:
            return None
        except DamageError as error:
            raise TraceError(f"{self.path} is damaged: {error}") from error
        self._offset += message.size
        self._quiet_since = time.monotonic()
        return message.kind, raw

    def _read(self, offset: int, size: int) -> bytes:
        """Bytes of the file."""
        assert self._descriptor is not None
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise TraceError(f"cannot read {self.path}: {error.strerror}") from error

    def _take(self, kind: str, data: bytes) -> Any | None:
        """Process a message; return the batch if it is one."""
        import pyarrow as pa

        if kind == "end":
            self.ended = True
            return None
        if kind != "batch":
            self._head += data
            if len(self._head) > NAMES_BYTES_MAX:
                raise TraceError(f"{self.path} is damaged: its dictionaries have no end")
            if kind == "schema":
                self._begin(data)
            return None
        try:
            with pa.ipc.open_stream(self._head + data) as reader:
                batch, custom = reader.read_next_batch_with_custom_metadata()
                assert self._fitting is not None
                batch = self._fitting.fitted(checked(batch, EXITS.time), None)
        except damage() as error:
            raise TraceError(f"{self.path} is damaged: {error}") from error
        if custom is not None and keys.SUMMARY.encode() in custom:
            self.summary = read_summary(self.path, bytes(custom[keys.SUMMARY.encode()]), EXITS.summary)
            self.ended = True
        return batch

    def _begin(self, data: bytes) -> None:
        import pyarrow as pa

        try:
            schema = pa.ipc.read_schema(pa.BufferReader(data))
        except damage() as error:
            raise TraceError(f"{self.path} is damaged: {error}") from error
        self.metadata = read_metadata(self.path, schema, EXITS)
        self.devices = read_devices(self.path, self.metadata)
        self._fitting = fitted(self.path, EXITS, self.metadata, schema)
        self.schema = self._fitting.schema

    def _look_around(self) -> None:
        """Nothing new for a while: check whether the run was killed. If so, all that it wrote is there at the next
        check."""
        if self._abandoned:
            self.ended = True
        elif time.monotonic() - self._quiet_since >= QUIET:
            self._quiet_since = time.monotonic()
            self._abandoned = not recording(self.path)


def recording(stream: Path) -> bool:
    """Whether a run records into a stream: it holds the lock of the ring file beside it."""
    ring = ring_path(stream)
    try:
        status = ring.stat()
        held = f":{status.st_ino} "
        # Looked up instead of tried if possible: a try could get in the way of a run that starts.
        if any("FLOCK" in line and held in line for line in Path("/proc/locks").read_text().splitlines()):
            return True
        os.close(lock(ring))
    except FileNotFoundError:
        return False
    except (TraceError, OSError):  # it is locked, or another user's
        return True
    return False
