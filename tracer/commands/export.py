"""``vmtrace export``: a trace in the format of another tool."""

import argparse
import sys
from pathlib import Path
from typing import BinaryIO

from tracer.format.errors import TraceError
from tracer.format.paths import keep, read_files
from tracer.format.sink import sink
from tracer.read.reader import Trace, load
from vmspec.host.printable import printable
from vmspec.trace.files import TRACE, table_name
from vmspec.trace.tables import TABLES

# Each with the suffix of its files, and its use.
FORMATS = {
    "perfetto": (".pftrace", "protobuf, for ui.perfetto.dev: tracks of vCPUs, devices, console (vmrun[perfetto])"),
    "chrome": (".json", "trace event JSON, for chrome://tracing, Perfetto and speedscope"),
    "collapsed": (".folded", "collapsed stacks, for flamegraph.pl, inferno and speedscope"),
    "parquet": (".parquet", "a table's rows, types and metadata as Parquet"),
    "csv": (".csv", "a table's rows as CSV"),
    "json": (".jsonl", "a table's rows as JSON, an object a line"),
    "pcap": (".pcapng", "serial traffic as pcapng, for Wireshark"),
}
OF_ONE_TABLE = ("parquet", "csv", "json")


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    formats = parser.add_mutually_exclusive_group(required=True)
    for name, (_, text) in FORMATS.items():
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=text)
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="default: beside FILE; - is standard output")
    parser.add_argument(
        "--table",
        type=table_name,
        choices=TABLES,
        help=f"the table for --parquet, --csv and --json (default: {TRACE})",
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
    if options.table is not None and options.format not in OF_ONE_TABLE:
        formats = ", ".join(f"--{name}" for name in OF_ONE_TABLE)
        raise TraceError(f"--table is for {formats}: --{options.format} has all tables that it can show")
    trace = load(options.file)
    suffix = FORMATS[options.format][0]
    if options.table not in (None, TRACE):
        suffix = f".{options.table}{suffix}"
    output = options.output or options.file.with_suffix(suffix)
    keep(output, read_files(options.file))
    with sink(output) as out:
        _write(trace, out, options)
    note = ""
    if options.format in OF_ONE_TABLE and options.table is None:
        for name in trace.tables.there():
            note += f"; the {TABLES[name].what} are not included: --table {name} writes them"
    if str(output) != "-":
        print(printable(f"{output}: {output.stat().st_size:,} bytes{note}"), file=sys.stderr)
    return 0


def _write(trace: Trace, out: BinaryIO, options: argparse.Namespace) -> None:
    table = trace.tables.need(options.table or TRACE)
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

            parquet.write(table.schema, table.batches(), table.summary, out)
        case "csv":
            from tracer.show import csv

            csv.write(table.schema, table.batches(), out)
        case "json":
            from tracer.export import jsonlines

            jsonlines.write(table.schema, table.batches(), out)
        case "pcap":
            from tracer.export import pcap

            pcap.write(trace, out)
