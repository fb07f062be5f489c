"""``vmtrace tracepoints``: exits that KVM handled, beside those that reached userspace."""

import argparse
from pathlib import Path
from typing import Any

from tracer.analysis.account import account
from tracer.analysis.tracepoint_details import by_detail, details_schema
from tracer.analysis.tracepoints import by_event, by_handling, by_reason, by_vcpu, notes, schemas, summed, time_by_vcpu
from tracer.read.reader import load
from tracer.show.output import add_formats, show
from vmspec.trace.tracepoints import TRACEPOINTS


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace; its tracepoints are the .tracepoints.arrow beside it")
    add_formats(parser)


def tables() -> dict[str, Any]:
    """The schemas of the tables, for ``vmtrace columns``."""
    return {"tracepoints": {**schemas(), "details": details_schema()}}


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    trace = load(options.file)
    trace.tables.need(TRACEPOINTS.name)
    whole = account(trace)
    sums, vcpus = summed(trace, whole), by_vcpu(trace)
    times = by_handling(sums)
    tables = {"reasons": by_reason(times), "time": time_by_vcpu(sums, whole), "details": by_detail(trace)}
    tables |= {"times": times, "vcpus": vcpus, "events": by_event(trace)}
    show(tables, options, "\n".join(notes(trace, vcpus, times)))
    return 0
