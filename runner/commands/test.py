"""Run every spec below the given folders as a test. A test passes if vmrun's exit status is 0, or the one that
test.status names in the spec. The files of failed runs are in one folder: console, trace, crash report, and a page."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from runner.machine.result import INTERRUPTED, WRONG
from runner.suite import page, selecting
from runner.suite.artefacts import Artefacts
from runner.suite.collect import Case, CollectError, collect
from runner.suite.progress import shown
from runner.suite.suite import Options, Suite
from runner.suite.summary import Tally
from runner.workers.folder import FolderError
from runner.workers.pool import Workers
from runner.workers.schedule import processors
from vmspec.host.commandline import complain, count
from vmspec.schema.value import Here
from vmspec.schema.values import Duration

FOLDER = "vmrun-test"
TIMEOUT = "60s"

STATUSES = """exit status:
    0  every test passed, or was skipped
    1  a test failed, or failed in some of its runs
    2  the command line or a spec is wrong, or there was no spec to run
    3  a result could not be written
  130  interrupted
  141  the reader of the output closed it

A spec is a file that ends in .toml and has a table [vm] or [boot]. Other TOML files below a folder are passed over, and
named. A spec with a [matrix] is a test for each combination."""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("paths", type=Path, nargs="*", metavar="PATH", help="a spec, or a folder of specs; default: this folder")
    add(
        "-j", "--jobs", type=count, metavar="N",
        help="run at most N specs at once; default: the number of processors. In total, running guests have at most as "
        "many vCPUs as there are processors; a guest with more runs alone",
    )  # fmt: skip
    add("-k", dest="select", metavar="EXPR", help="only tests whose names match, as in 'linux and not vcpus=4'")
    add(
        "--repeat", type=count, default=1, metavar="N", help="run each test N times; it is flaky if only some runs fail"
    )
    add("--last-failed", action="store_true", help="only tests that failed the last time; all, if none did")
    add("--junit", type=Path, metavar="FILE", help="also write the results as JUnit XML")
    add("-o", "--output", type=Path, default=Path(FOLDER), metavar="DIR", help=f"the folder of artefacts ({FOLDER})")
    add("--keep", action="store_true", help="keep the files of passed runs, too")
    add("--no-trace", action="store_true", help="record nothing")
    add(
        "--timeout", type=_duration, default=_duration(TIMEOUT), metavar="DURATION",
        help=f"ends runs of specs without vm.timeout ({TIMEOUT})",
    )  # fmt: skip
    add(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="sets",
        help="override a key of all specs, as in vm.memory=1GiB; may be repeated",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the suite; return the exit status."""
    try:
        selects = selecting.parse(options.select) if options.select is not None else lambda name: True
        collected = collect(options.paths or [Path()], options.sets)
        for note in collected.notes:
            complain("vmrun", f"passed over {note}")
        with Artefacts.opened(options.output) as folder:
            cases = _selected([case for case in collected.cases if selects(case.name)], folder, options.last_failed)
            if not cases:
                which = f" ({len(collected.cases)} do not match -k)" if collected.cases else ""
                complain("vmrun", f"there is no spec to run{which}")
                return WRONG
            return _run(cases, folder, options)
    except (CollectError, selecting.SelectError, FolderError) as error:
        complain("vmrun", error)
        return WRONG
    except KeyboardInterrupt:
        complain("vmrun", "interrupted")
        return INTERRUPTED


def _selected(cases: Sequence[Case], folder: Artefacts, last_failed: bool) -> Sequence[Case]:
    if not last_failed:
        return cases
    failed = [case for case in cases if case.name in folder.failed]
    if not failed:
        complain("vmrun", "none of these tests failed the last time: running all of them")
    return failed or cases


def _run(cases: Sequence[Case], folder: Artefacts, options: argparse.Namespace) -> int:
    room, begin = processors(), time.monotonic()
    how = Options(
        options.repeat, options.jobs or room, room, options.timeout, record=not options.no_trace, keep=options.keep
    )
    runs = sum(not (case.skip or case.broken) for case in cases) * options.repeat
    tally = Tally(cases, time.time())
    with Workers(how.most) as executor, shown(runs) as progress:
        try:
            for report in Suite(cases, folder, how, progress.started, progress.ended).run(executor):
                progress.report(report)
                tally.add(report)
        except KeyboardInterrupt:
            tally.interrupted = True
            executor.stop()
        except BaseException:
            executor.stop()
            raise
    tally.seconds = time.monotonic() - begin
    folder.keep(tally.failed(folder.failed))
    for line in tally.lines():
        print(line)
    if tally.bad:
        print(f"the failures as a page: {page.write(tally, folder.folder)}")
    if options.junit:
        from runner.suite import junit  # late: few ask for it

        junit.write(tally, options.junit)
    return tally.status


def _duration(text: str) -> int:
    here = Here(Path())
    duration = Duration().read(text, here)
    if here.problems:
        raise argparse.ArgumentTypeError(f"{text!r}: {here.problems[0].message}; give {Duration.allowed}")
    return int(duration)
