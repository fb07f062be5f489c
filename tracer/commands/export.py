"""``vmtrace export``: a trace in the format of another tool."""

import argparse
import sys
from pathlib import Path
from typing import BinaryIO

from tracer.analysis.tracepoint_spans import tracepoints_of
from tracer.format.errors import TraceError
from tracer.format.paths import keep, read_files
from tracer.format.sink import sink
from tracer.read.reader import Trace, load
from tracer.read.tablefile import TableFile
from vmspec.host.printable import printable

# Each with the suffix of its files, and its use.
FORMATS = {
    "perfetto": (".pftrace", "protobuf, for ui.perfetto.dev: tracks of vCPUs, devices, console (vmrun[perfetto])"),
    "chrome": (".json", "trace event JSON, for chrome://tracing, Perfetto and speedscope"),
    "collapsed": (".folded", "collapsed stacks, for flamegraph.pl, inferno and speedscope"),
    "parquet": (".parquet", "rows as Parquet: exits, or tracepoints with --table"),
    "csv": (".csv", "rows as CSV: exits, or tracepoints with --table"),
    "pcap": (".pcapng", "serial traffic as pcapng, for Wireshark"),
}


TABLES = ("parquet", "csv")  # formats that hold one table


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path)
    formats = parser.add_mutually_exclusive_group(required=True)
    for name, (_, text) in FORMATS.items():
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=text)
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="default: beside FILE; - is standard output")
    parser.add_argument(
        "--table",
        type=lambda name: "tracepoints" if name == "kernel" else name,  # former name
        choices=["exits", "tracepoints"],
        help="the table for --parquet and --csv (default: exits)",
    )
    parser.add_argument(
        "--weight",
        choices=["exits", "time"],
        help="weight of --collapsed: exits (default), or time in ns, also in the guest",
    )


def run(options: argparse.Namespace) -> int:
    """Write the file whole or not at all, and print its path."""
    if options.weight is not None and options.format != "collapsed":
        raise TraceError(f"--weight is for --collapsed: --{options.format} has both exits and times")
    if options.table is not None and options.format not in TABLES:
        raise TraceError(f"--table is for --parquet and --csv: --{options.format} has all tables that it can show")
    trace = load(options.file)
    suffix = FORMATS[options.format][0]
    suffix = f".tracepoints{suffix}" if options.table == "tracepoints" else suffix
    output = options.output or options.file.with_suffix(suffix)
    keep(output, read_files(options.file))
    with sink(output) as out:
        _write(trace, out, options)
    note = ""
    if options.format in TABLES and options.table is None and trace.tracepoints is not None:
        note = "; the tracepoints are not included: --table tracepoints writes them"
    if str(output) != "-":
        print(printable(f"{output}: {output.stat().st_size:,} bytes{note}"), file=sys.stderr)
    return 0


def _table(trace: Trace, options: argparse.Namespace) -> TableFile:
    return tracepoints_of(trace) if options.table == "tracepoints" else trace


def _write(trace: Trace, out: BinaryIO, options: argparse.Namespace) -> None:
    match options.format:
        case "perfetto":
            from tracer.export import perfetto

            perfetto.write(trace, out)
        case "chrome":
            from tracer.export import chrome

            chrome.write(trace, out)
        case "collapsed":
            from tracer.export import collapsed

            collapsed.write(trace, out, options.weight == "time")
        case "parquet":
            from tracer.export import parquet

            table = _table(trace, options)
            parquet.write(table.schema, table.batches(), table.summary, out)
        case "csv":
            from tracer.show import csv

            table = _table(trace, options)
            csv.write(table.schema, table.batches(), out)
        case "pcap":
            from tracer.export import pcap

            pcap.write(trace, out)
