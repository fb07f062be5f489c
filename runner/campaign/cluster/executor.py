"""An executor that makes runs of a campaign on the workers of a Dask cluster.

It takes the calls that :class:`runner.workers.pool.Workers` takes, ``measure(task, keep)``, and sends each as a parcel.
Dask makes the runs of a lost worker again. One thread looks at what comes back: it sends files to a worker that lacks
them, fetches the traces that are kept, and ends the campaign if the cluster cannot go on.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from runner.campaign.cluster import remote
from runner.campaign.cluster.connection import Connection, Needed
from runner.campaign.cluster.errors import ClusterError
from runner.campaign.cluster.parcel import Parcel
from runner.campaign.cluster.transfer import fetch, send
from runner.campaign.measure import Keep, Measured
from runner.campaign.site import Stoppable
from runner.workers.pool import WorkerLostError
from runner.workers.task import Task
from vmspec.host.threads import Worker as Thread

PATIENCE = 30.0  # seconds without a worker that could make a run
AGAIN = 0.2  # seconds until a result that was lost is asked for again
ROUNDS = 5  # times that files are sent for one run


class Call(NamedTuple):
    """A run that is under way: what it is, and what the campaign waits for."""

    parcel: Parcel
    task: Task
    keep: Keep
    needed: Needed
    future: "Future[Measured]"
    rounds: int = 0


class Cluster(Stoppable):
    """Makes runs of these machines, by their specs and overrides, on a connected cluster."""

    def __init__(self, connection: Connection, parcels: Mapping[tuple[Path, tuple[str, ...]], tuple[Parcel, Needed]]):
        self._connection, self._parcels = connection, parcels
        self._ended: SimpleQueue[Any] = SimpleQueue()  # futures of Dask's
        self._calls: dict[Any, Call] = {}
        self._lock = threading.Lock()
        self._over = False
        self._thread = Thread("cluster", self._serve)
        self._thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Make a run: ``args`` are a task of one of the machines, and which traces are kept."""
        task, keep = args
        parcel, needed = self._parcels[task.spec, task.overrides]
        future: Future[Measured] = Future()
        future.set_running_or_notify_cancel()
        self._begin(Call(parcel, task, keep, needed, future))
        return future

    def _begin(self, call: Call) -> None:
        task = call.task
        name = task.trace.stem if task.trace is not None else "run"
        dasks = self._connection.submit(
            remote.measure, (call.parcel, name, task.trace is not None, task.timeout, call.keep), call.needed
        )
        with self._lock:
            self._calls[dasks] = call
        dasks.add_done_callback(self._ended.put)

    def _serve(self) -> None:
        since: float | None = None
        while not self._over:
            try:
                dasks = self._ended.get(timeout=1.0)
            except Empty:
                since = self._watched(since)
                continue
            if self._connection.again(dasks):
                self._connection.later(AGAIN, partial(self._ended.put, dasks))
                continue
            with self._lock:
                call = self._calls.pop(dasks, None)
            if call is not None:
                try:
                    self._judge(dasks, call)
                except Exception as error:
                    call.future.set_exception(error)
            del dasks  # so that the cluster forgets it

    def _watched(self, since: float | None) -> float | None:
        """Fail what no worker can make: since when nothing could."""
        with self._lock:
            waiting = list(self._calls.values())
        try:
            missing = self._connection.missing({call.needed for call in waiting})
        except ClusterError as error:
            self._fail(error)
            return None
        if missing is None:
            return None
        since = since or time.monotonic()
        if time.monotonic() - since > PATIENCE:
            self._fail(ClusterError(missing))
        return since

    def _fail(self, error: ClusterError) -> None:
        with self._lock:
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            call.future.set_exception(error)

    def _judge(self, dasks: Any, call: Call) -> None:
        """Pass on the result of a call, or make it again."""
        answer = self._connection.result(dasks)
        match answer.value:
            case remote.Unfit(why=why):
                raise ClusterError(f"the worker {answer.worker} {why}")
            case remote.Lacking(hashes=hashes):
                if call.rounds == ROUNDS:
                    raise ClusterError(f"the worker {answer.worker} does not keep the files that it is sent")
                files = {file.content.sha256: file for _, file in call.parcel.files}
                with suppress(WorkerLostError):  # another one makes the run
                    for file in map(files.__getitem__, hashes):
                        send(self._connection, answer.worker, file)
                self._begin(call._replace(rounds=call.rounds + 1))
            case Measured() as measured:
                try:
                    call.future.set_result(self._fetched(measured, answer, call))
                except WorkerLostError:
                    self._begin(call)  # its trace is lost

    def _fetched(self, measured: Measured, answer: remote.Answer, call: Call) -> Measured:
        """What came of a run, with its trace in the campaign's folder."""
        result = measured.outcome.result
        if result is None or result.trace is None or call.task.trace is None:
            return measured
        fetch(self._connection, answer.worker, answer.files, call.task.trace.parent)
        return measured._replace(outcome=measured.outcome._replace(result=result._replace(trace=call.task.trace)))

    def stop(self) -> None:
        """Cancel all runs; workers end those that are under way."""
        self._over = True
        with self._lock:
            dasks, self._calls = list(self._calls), {}
        self._connection.cancel(dasks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. All that were taken have a result."""
        self.stop()
        if wait:
            self._thread.outlast()
