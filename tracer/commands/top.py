"""``vmtrace top``: the exits of a running machine, live."""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tracer.analysis.account import balance
from tracer.analysis.rates import Rates
from tracer.decode.regions import Regions
from tracer.format.errors import TraceError
from tracer.read.follow import POLL, Follower, follow, recording
from tracer.read.metadata import machine_name, read_value
from tracer.read.vitals import vitals
from tracer.show.live import live, screen
from vmspec.host.commandline import complain
from vmspec.host.printable import printable
from vmspec.host.streams import columns
from vmspec.trace import keys
from vmspec.trace.files import exists, ring_path, stream_path

PIPED = 100  # columns of a screen that goes to a pipe
SILENT = 1.5  # seconds beyond the interval to wait for new exits: the recorder checks every second


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file",
        metavar="FILE|NAME",
        help="the trace that is being recorded, or the vm.name of a machine that records into this directory",
    )
    parser.add_argument(
        "--interval", metavar="S", type=_seconds, default=1.0, help="seconds between updates; default 1"
    )
    parser.add_argument("--count", metavar="N", type=int, help="stop after N updates")
    parser.add_argument("--once", dest="count", action="store_const", const=1, help="one update, then stop")


def run(options: argparse.Namespace) -> int:
    """Show screens until the run ends, then the final numbers."""
    with _find(options.file) as follower:
        rates = Rates()
        looks = _looks(follower, rates, options)
        final = False
        if sys.stdout.isatty():
            final = _on_terminal(looks)
        else:
            for text, final in looks:  # noqa: B007 (the last one is used)
                print(text, end="\n\n", flush=True)
        if final and follower.summary is None:
            complain("vmtrace", f"{follower.path} has no closing summary: its run was killed")
    return 0


def _on_terminal(looks: Iterator[tuple[str, bool]]) -> bool:
    """Redraw the screen in place; the last screen stays. Returns whether the run has ended."""
    from rich.console import Console
    from rich.live import Live

    text, final = "", False
    console = Console(width=columns(), height=shutil.get_terminal_size().lines)
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as shown:
        for text, final in looks:  # noqa: B007 (the last one is used)
            shown.update(live(text), refresh=True)
    print(text)
    return final


def _looks(follower: Follower, rates: Rates, options: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    """A screen per interval, and whether it is the final one."""
    follower.started()
    spec = read_value(follower.path, follower.metadata, keys.SPEC, "toml")
    title = printable(machine_name(spec) or follower.path.name)
    regions = Regions(follower.metadata)
    ring = ring_path(follower.path)
    count = 0
    current = False  # everything recorded before this command started has been read
    due = time.monotonic() + options.interval
    while True:
        now = None if follower.ended else vitals(ring)  # before the batches, which reach at least that far
        while (batch := follower.next()) is not None:
            rates.add(batch)
            if current and time.monotonic() >= due:
                break  # more may always come
        width, height = columns() or PIPED, shutil.get_terminal_size().lines
        lines = height - 1 if sys.stdout.isatty() else None
        if follower.ended:
            times = balance(follower.summary, spec, rates.rows)
            yield screen(f"{title} (ended)", rates, times, width, lines, regions), True
            return
        if now is not None and batch is None:
            rates.until(now.seen_ns)
        if not current:
            current = True
            rates.turn()
        elif time.monotonic() >= due and (rates.span_ns or time.monotonic() >= due + SILENT):
            yield screen(title, rates, now, width, lines, regions), False
            rates.turn()
            due = time.monotonic() + options.interval
            if (count := count + 1) == options.count:
                return
        time.sleep(min(POLL, max(due - time.monotonic(), 0.01)))


def _find(named: str) -> Follower:
    """Find the run for a file's or a machine's name; the file if there is one."""
    path = Path(named)
    if len(path.parts) != 1 or path.suffix in (".arrow", ".arrows") or exists(path) or exists(stream_path(path)):
        return follow(path)
    running: dict[str, Path] = {}
    # The files of a killed run may have the name of a running one.
    for stream in sorted(Path().glob("*.arrows"), key=lambda stream: (not recording(stream), stream)):
        try:
            with follow(stream) as follower:
                follower.next()
                spec = read_value(stream, follower.metadata, keys.SPEC, "toml")
                running.setdefault(machine_name(spec) or stream.stem, stream)
        except TraceError:
            continue  # of another run, or of none
    if named in running:
        return follow(running[named])
    there = f"there are: {', '.join(map(printable, running))}" if running else "no machine is recorded here"
    raise TraceError(f"no machine called {printable(named)!r} is recorded into this directory's *.arrows; {there}")


def _seconds(text: str) -> float:
    try:
        if 0.1 <= (value := float(text)) <= 3600:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds from 0.1 to 3600")
