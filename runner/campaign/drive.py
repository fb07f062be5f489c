"""Running a campaign: what is missing in its data set is run, several at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple

from runner.campaign.dataset import DataSet
from runner.campaign.measure import Keep, Measured, measure
from runner.campaign.models import Campaign
from runner.campaign.rows import lost, row
from runner.campaign.runs import Machine, Run, runs
from runner.machine.result import HOST
from runner.suite.verdict import interrupted
from runner.workers.pool import WorkerLostError
from runner.workers.schedule import Order, completed
from runner.workers.task import Task
from vmspec.trace.campaigns import TRACES

USUAL = 1 << 20  # bytes that a run is taken to need until one has ended


class Work(NamedTuple):
    """What a campaign has to do: ``left`` runs of ``total`` are missing in its data set."""

    machines: tuple[Machine, ...]
    total: int
    left: int


def work(campaign: Campaign, machines: Sequence[Machine], data: DataSet) -> Work:
    """The runs that are missing."""
    names = {run.name for machine in machines for run in runs(machine, campaign.campaign.repeat)}
    return Work(tuple(machines), len(names), len(names - data.names))


class Drive:
    """Makes the runs. ``full`` is set once the folder has reached its limit: no more are begun then."""

    def __init__(self, campaign: Campaign, machines: Sequence[Machine], data: DataSet) -> None:
        self._settings, self._machines, self._data = campaign.campaign, machines, data
        self._size = data.size()
        self._largest = 0  # trace so far
        self._recording = self._settings.traces != "none"
        self.full = False

    def run(self, executor: Executor, most: int, room: int) -> Iterator[Run]:
        """Make the missing runs; yield each once its row is written. Raises OSError."""
        for run, future in completed(executor, measure, self._orders(), most, room):
            if (made := self._row(run, future)) is not None:
                self._data.add(made)
                yield run

    def _orders(self) -> Iterator[Order[Run]]:
        begun = set(self._data.names)
        for machine in self._machines:
            for run in runs(machine, self._settings.repeat):
                if run.name not in begun and not self._is_full():
                    begun.add(run.name)
                    trace = self._data.folder / TRACES / f"{run.name}.arrow" if self._recording else None
                    task = Task(machine.spec, machine.overrides, trace, self._settings.timeout)
                    yield Order(run, (task, self._keep(run)), machine.demand)

    def _is_full(self) -> bool:
        limit = self._settings.disk
        if limit is not None and self._size + (self._largest or USUAL) > limit:
            self.full = True
        return self.full

    def _keep(self, run: Run) -> Keep:
        match self._settings.traces:
            case "all":
                return "always"
            case "every":
                return "always" if run.repetition % self._settings.every == 0 else "never"
            case "failed":
                return "failed"
        return "never"

    def _row(self, run: Run, future: "Future[Measured]") -> dict[str, object] | None:
        """The row of a run that has ended; None for one that the user has interrupted."""
        try:
            measured = future.result()
        except WorkerLostError as error:
            return lost(run, HOST, f"the run was lost: {error}")
        if interrupted(measured.outcome):
            return None
        self._size += measured.size
        self._largest = max(self._largest, measured.size)
        return row(run, measured)
