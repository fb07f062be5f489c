"""Progress of a campaign: a bar on a terminal, else a line for each tenth."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown(total: int, done: int) -> Iterator[Callable[[], None]]:
    """The function to call for each run that has ended; ``done`` of ``total`` ended before."""
    if not sys.stdout.isatty():
        yield _lines(total, done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stdout), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done, rate="")
        begin, count = time.monotonic(), 0

        def ended() -> None:
            nonlocal count
            count += 1
            bar.update(task, advance=1, rate=f"{count / (time.monotonic() - begin):.0f} runs/s")

        yield ended


def _lines(total: int, done: int) -> Callable[[], None]:
    count, begin = done, time.monotonic()

    def ended() -> None:
        nonlocal count
        count += 1
        if count * 10 // total > (count - 1) * 10 // total:
            rate = (count - done) / (time.monotonic() - begin)
            print(f"{count:,} of {total:,} runs, {rate:.0f} a second", flush=True)

    return ended
