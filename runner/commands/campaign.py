"""Run every combination of a campaign's specs and axes, repeated, and write a row for each run into one Parquet data
set. Runs that the data set has are not made again, so an interrupted campaign continues where it was."""

import argparse
import time
from contextlib import AbstractContextManager
from pathlib import Path

from runner.campaign.cluster.errors import AddressError, ClusterError
from runner.campaign.dataset import DataSet
from runner.campaign.drive import Drive, work
from runner.campaign.models import load
from runner.campaign.progress import shown
from runner.campaign.runs import Digests, machines
from runner.campaign.site import Site, Stoppable, here
from runner.machine.result import HOST, INTERRUPTED, OK, UNMET, WRONG
from runner.session.failures import RAISED, exit_status
from runner.workers.folder import FolderError
from runner.workers.pool import Workers
from vmspec.host.commandline import complain, count
from vmspec.schema.problems import SpecError
from vmspec.trace.campaigns import DATA

STATUSES = """exit status:
    0  the data set has every run; a run that failed is a row
    1  runs are missing: the folder has reached the limit campaign.disk
    2  the command line, the campaign or a spec is wrong
    3  the host or the cluster cannot run machines, or a result could not be written
  130  interrupted; the same command continues
  141  the reader of the output closed it"""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the campaign, a TOML file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the folder of the data set")
    parser.add_argument(
        "-j", "--jobs", type=count, metavar="N",
        help="make at most N runs at once; default: the number of processors, which also limits their vCPUs in total",
    )  # fmt: skip
    parser.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="make the runs on the workers of a Dask cluster, whose scheduler is at this address, as in tcp://host:8786",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the campaign; return the exit status."""
    try:
        campaign = load(options.file)
        with _site(options) as site:
            digests: Digests = {}
            found = tuple(machines(campaign, site.facts, digests))
            with DataSet.opened(options.output) as data:
                todo = work(campaign, found, data)
                drive = Drive(campaign, found, data)
                done = todo.total - todo.left
                if done:
                    print(f"{done:,} of {todo.total:,} runs are in {data.folder / DATA}", flush=True)
                with site.executor(found, digests) as executor:
                    status, ended, seconds = _run(drive, executor, site, todo.total, done)
        left = todo.left - ended
        print(f"{ended:,} runs in {seconds:.1f} s; {data.folder / DATA} has {todo.total - left:,} of {todo.total:,}")
        if left and status == OK:
            complain("vmrun", f"{left:,} runs are missing: {data.folder} has reached campaign.disk")
            return UNMET
        return status
    except RAISED as error:
        complain("vmrun", *(error.problems if isinstance(error, SpecError) else (error,)))
        return exit_status(error)
    except (FolderError, AddressError) as error:
        complain("vmrun", error)
        return WRONG
    except ClusterError as error:
        complain("vmrun", error)
        return HOST
    except KeyboardInterrupt:
        complain("vmrun", "interrupted")
        return INTERRUPTED


def _site(options: argparse.Namespace) -> AbstractContextManager[Site]:
    if options.scheduler is None:
        return here(options.jobs)
    from runner.campaign.cluster.site import cluster  # late: few campaigns have one

    return cluster(options.scheduler, options.jobs)


def _run(drive: Drive, executor: Workers | Stoppable, site: Site, total: int, done: int) -> tuple[int, int, float]:
    """The exit status, how many runs have ended, and the time that took."""
    begin, ended, status = time.monotonic(), 0, OK
    with shown(total, done) as progress:
        try:
            for _ in drive.run(executor, site.most, site.room):
                ended += 1
                progress()
        except KeyboardInterrupt:
            status = INTERRUPTED
            executor.stop()
        except BaseException:
            executor.stop()
            raise
    return status, ended, time.monotonic() - begin
