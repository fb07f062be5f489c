"""``vmtrace campaign``: the runs of a campaign, or how two campaigns differ."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis import campaign, regression
from tracer.format.errors import TraceError
from tracer.format.paths import keep
from tracer.format.sink import sink
from tracer.read.campaign import Campaign, load
from tracer.show.output import add_formats, show
from vmspec.trace.campaigns import DATA

UNKNOWN = 125  # of git bisect run: this commit cannot be tested

EPILOG = f"""
With one campaign: its machines and how their runs ended. With two: each quantity of each machine that both have, by a
rank test. A quantity differs if its p-value, corrected for the number of quantities, is at most --alpha, and the effect
(Cliff's delta) at least --effect.

Exit status with two: 0: nothing differs; 1: something does; 2: a file or the command line is wrong. With --bisect, also
{UNKNOWN} if there are too few runs to tell, so that `git bisect run` skips the commit.
"""


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="the folder of a campaign; A and B")
    parser.add_argument("--alpha", type=_share, metavar="P", help="largest p-value that counts (0.01)")
    parser.add_argument("--effect", type=_share, metavar="D", help="smallest effect that counts (0.33)")
    parser.add_argument("--only", metavar="PATTERN", help="only these quantities, such as run or 'phase *'")
    parser.add_argument("--bisect", action="store_true", help="for git bisect run: print good, bad or unknown")
    parser.add_argument(
        "--html", type=Path, metavar="FILE",
        help="also write a page with a small plot of each quantity for each machine, and the tables",
    )  # fmt: skip
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"campaign": campaign.schemas(), "campaign A B": regression.schemas()}


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    found = [load(folder) for folder in options.folders]
    limits = {name: value for name in ("alpha", "effect", "only") if (value := getattr(options, name)) is not None}
    match found:
        case [one] if limits or options.bisect:
            raise TraceError("these options compare two campaigns: vmtrace campaign A B")
        case [one]:
            _write(options, found)
            show(campaign.summarised(one), options, head=_head(one))
            return 0
        case [a, b]:
            compared = regression.compare(a, b, **limits)
            _write(options, found, compared)
            if options.bisect:
                return _bisect(compared)
            show(_told(compared.tables, options), options, head=compared.text)
            return 1 if compared.differs else 0
    raise TraceError(f"give one or two campaigns, not {len(found)}")


def _write(options: argparse.Namespace, found: list[Campaign], compared: regression.Regression | None = None) -> None:
    """Write the page, if it is asked for."""
    if options.html is None:
        return
    from tracer.html.campaign import render

    keep(options.html, (path for folder in options.folders for path in (folder, folder / DATA)))
    html = render(found, compared).encode(errors="replace")
    with sink(options.html) as out:
        out.write(html)


def _bisect(compared: regression.Regression) -> int:
    """Print the verdict on B."""
    if compared.differs:
        print("bad")
        return 1
    print("unknown: too few runs" if compared.few else "good")
    return UNKNOWN if compared.few else 0


def _told(found: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """For people, only what differs, unless they ask for a table or for all."""
    if options.table is not None or options.all or options.json or options.csv or options.parquet:
        return found
    return {name: table.filter(table["differs"]) for name, table in found.items() if any(table["differs"].to_pylist())}


def _head(one: Campaign) -> str:
    runs = sum(map(len, one.machines.values()))
    text = f"{runs:,} runs of {len(one.machines):,} machines"
    if one.waiting:
        text += f"; {one.waiting:,} more are in its journal: the campaign continues, or was killed and can be continued"
    return text


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value
