"""``vmtrace report``: a trace as one HTML page that works offline."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.symbols import namer, symbol_files
from tracer.format.paths import keep, read_files
from tracer.format.sink import sink
from tracer.html.data import gather
from tracer.html.page import no_symbols, render
from tracer.html.tables import Symbols
from tracer.read.reader import Trace, load
from vmspec.host.printable import printable


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    parser.add_argument("-o", "--output", type=Path, metavar="HTML", help="default: FILE with .html for its suffix")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    trace = load(options.file)
    output = options.output or options.file.with_suffix(".html")
    keep(output, (*read_files(options.file), *symbol_files(trace).values()))
    findings = gather(trace)
    html = render(trace, findings, symbols=_symbols(trace, findings.rips)).encode(errors="replace")
    with sink(output) as out:
        out.write(html)
    print(printable(f"{output}: {len(html) / 1e6:.1f} MB"))
    return 0


def _symbols(trace: Trace, rips: Any) -> Symbols:
    """Names for RIPs, if the kernel of the run is still there; ``rips`` is the page's table of them."""
    columns = (rips[name].to_pylist() for name in ("rip", "reason"))
    names = namer(trace, [rip for rip, reason in zip(*columns, strict=True) if reason == "io"])
    return no_symbols if names.symbols is None else lambda rip: names.name(rip)[1]
