"""A connection to the scheduler of a Dask cluster: which workers there are, calls on them, and errors in words."""

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from runner.campaign.cluster import remote
from runner.campaign.cluster.errors import AddressError, ClusterError
from runner.workers.pool import WorkerLostError
from vmspec import __version__

LEAVE = 2  # seconds to leave it


class Needed(NamedTuple):
    """The resources of a worker that a run takes."""

    vcpus: int

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self.resources.items())

    @property
    def resources(self) -> dict[str, int]:
        """Them by Dask's names."""
        return {"vcpus": self.vcpus, "kvm": 1}


class Connection:
    """The cluster at an address, made by :func:`connected`."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self.address = client, address
        self._session = uuid.uuid4().hex[:8]
        self._count = 0

    def workers(self) -> dict[str, dict[str, float]]:
        """The resources of each worker, by its address. Raises ClusterError."""
        try:
            known = self._client.scheduler_info()["workers"]
        except Exception as error:  # which ones is nowhere documented
            raise self.lost() from error
        return {worker: dict(about["resources"]) for worker, about in known.items()}

    def missing(self, needs: Iterable[Needed]) -> str | None:
        """What no worker offers, as a sentence; None: they offer all of it. Raises ClusterError."""
        workers = self.workers()
        for needed in needs:
            fits = needed.resources.items()
            if not any(all(offers.get(name, 0) >= count for name, count in fits) for offers in workers.values()):
                offered = "; ".join(
                    f"{worker} offers " + (" ".join(f"{name}={count:g}" for name, count in offers.items()) or "nothing")
                    for worker, offers in workers.items()
                )
                what = f"no worker of {self.address} offers {needed}, which a run needs"
                start = f'dask worker {self.address} --resources "{needed}"'
                return f"{what} ({offered or 'it has no workers'}); start one with: {start}"
        return None

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """The result of a call on each worker, or the exception it raised. Raises ClusterError."""
        try:
            answers: dict[str, Any] = self._client.run(function, *arguments, on_error="return")
        except Exception as error:
            raise self.lost() from error
        return answers

    def call(self, worker: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a call on a worker. Raises OSError that it raised; WorkerLostError if the worker has gone."""
        from distributed.comm import CommClosedError

        try:
            return self._client.run(function, *arguments, workers=[worker])[worker]
        except CommClosedError as error:
            raise WorkerLostError(f"{worker} has gone") from error
        except OSError as error:
            if worker in self.workers() and not isinstance(error, TimeoutError | ConnectionError):
                raise
            raise WorkerLostError(f"{worker} has gone") from error
        except (KeyError, ValueError) as error:  # it is not known any more
            raise WorkerLostError(f"{worker} has gone") from error

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...], needed: Needed) -> Any:
        """A future of Dask's. Raises ClusterError."""
        self._count += 1
        key = f"vmrun-{self._session}-{self._count}"
        try:
            return self._client.submit(function, *arguments, key=key, pure=False, resources=needed.resources)
        except Exception as error:
            raise self.lost() from error

    def again(self, future: Any) -> bool:
        """Whether a future that was done is not any more: its result was on a worker that is lost, and Dask makes it
        again."""
        return future.status in ("lost", "pending")

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a function called after a while, in a thread of Dask's."""
        loop = self._client.loop
        loop.add_callback(loop.call_later, seconds, call)

    def result(self, future: Any) -> remote.Answer:
        """The result of a future that is done. Raises WorkerLostError if the run has killed several workers,
        ClusterError if the scheduler is lost, and what the call raised."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        if future.status == "cancelled":
            raise self.lost()
        try:
            answer: remote.Answer = future.result()
        except KilledWorker as error:
            raise WorkerLostError("each worker that made it has ended") from error
        except (CancelledError, CommClosedError) as error:  # it was lost since, or while it sent the result
            raise self.lost() from error
        return answer

    def cancel(self, futures: Sequence[Any]) -> None:
        """Cancel what is not done."""
        try:
            self._client.cancel(futures, force=True)
        except Exception:  # the scheduler has gone, and they with it
            pass

    def lost(self) -> ClusterError:
        """The error of a scheduler that does not answer."""
        return ClusterError(f"the scheduler {self.address} was lost; once it is back, the same command continues")

    def check(self) -> None:
        """Raise ClusterError for workers that have another vmrun, or none."""
        for worker, release in self.everywhere(remote.release).items():
            if isinstance(release, Exception):
                raise ClusterError(f"the worker {worker} cannot load vmrun {__version__}: {release}")
            if release != __version__:
                raise ClusterError(f"the worker {worker} has vmrun {release}, and this is vmrun {__version__}")


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """Connect to a scheduler such as ``tcp://host:8786``. Raises AddressError if that is no address or Dask is not
    installed, ClusterError if it does not answer."""
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise AddressError(f"--scheduler needs {error.name}: pip install 'vmrun[dask]'") from None
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it has to say is an error here, or mended
    try:
        get_address_host_port(address)
    except (ValueError, TypeError) as error:
        raise AddressError(f"--scheduler {address}: {error}; give an address such as tcp://host:8786") from error
    try:
        client = Client(address, set_as_default=False)
    except OSError as error:
        raise ClusterError(f"the scheduler {address} does not answer: {error}") from error
    try:
        yield Connection(client, address)
    finally:
        client.close(timeout=LEAVE)
