"""What a cluster lacks, and what was lost, in words."""

import pytest
from distributed import CancelledError, KilledWorker
from distributed.comm import CommClosedError

from runner.campaign.cluster.connection import Connection, Needed
from runner.campaign.cluster.errors import ClusterError
from runner.workers.pool import WorkerLostError
from vmspec import __version__


class Client:
    """A client of Dask's with these workers, each with its resources, or with these answers."""

    def __init__(self, workers, answers=None):
        self.workers, self.answers = workers, answers

    def scheduler_info(self):
        return {"workers": {name: {"resources": offers} for name, offers in self.workers.items()}}

    def run(self, function, *arguments, on_error):
        return self.answers


@pytest.mark.parametrize(
    ("workers", "missing"),
    [
        ({"a": {"vcpus": 2, "kvm": 1}}, None),
        ({"a": {"vcpus": 1, "kvm": 1}, "b": {"vcpus": 4, "kvm": 1}}, None),
        ({}, "(it has no workers)"),
        ({"a": {}, "b": {"vcpus": 1.0, "kvm": 2.0}}, "(a offers nothing; b offers vcpus=1 kvm=2)"),
        ({"a": {"vcpus": 4}}, "(a offers vcpus=4)"),
    ],
)
def test_what_no_worker_offers_is_named(workers, missing):
    found = Connection(Client(workers), "tcp://s:1").missing([Needed(1)] * (len(workers) == 1) + [Needed(2)])
    if missing is None:
        assert found is None
    else:
        assert missing in found
        assert found.startswith("no worker of tcp://s:1 offers vcpus=")
        assert "dask worker tcp://s:1 --resources" in found


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("0.0.9", f"the worker b has vmrun 0.0.9, and this is vmrun {__version__}"),
        (ModuleNotFoundError("No module named 'runner'"), "the worker b cannot load vmrun"),
    ],
)
def test_a_worker_with_another_vmrun_is_named(release, said):
    with pytest.raises(ClusterError, match=said):
        Connection(Client({}, {"a": __version__, "b": release}), "tcp://s:1").check()


class Future:
    """A future that was done when it was looked at."""

    def __init__(self, error, status="finished"):
        self.error, self.status = error, status

    def result(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (CommClosedError("in gather: Connection reset by peer"), ClusterError),
        (CancelledError("vmrun-1"), ClusterError),
        (KilledWorker("vmrun-1", None, 3), WorkerLostError),
        (FileNotFoundError(2, "No such file", "/dev/kvm"), FileNotFoundError),
    ],
)
def test_a_result_that_does_not_come_is_told_from_an_error_of_the_run(error, raised):
    with pytest.raises(raised) as caught:
        Connection(None, "tcp://s:1").result(Future(error))
    if raised is ClusterError:
        assert str(caught.value) == "the scheduler tcp://s:1 was lost; once it is back, the same command continues"
