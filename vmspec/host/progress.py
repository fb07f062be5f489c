"""A bar on a terminal for what takes a while."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG = 256 << 20  # bytes that take a while


@contextmanager
def progress(what: str, total: int, long: int = LONG) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many of ``total`` bytes are done, if they are many. Yields the function that counts."""
    if total < long or not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)
