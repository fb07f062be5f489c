"""``vmtrace kernel``: exits that the kernel handled beside those that came to userspace; the kernel's own events."""

import argparse
from pathlib import Path

from tracer.analysis.account import account
from tracer.analysis.kernel import by_event, by_handling, by_reason, by_vcpu, notes, summed, time_by_vcpu
from tracer.analysis.kernel_details import by_detail
from tracer.analysis.kernel_spans import kernel_of
from tracer.read.reader import load
from tracer.show.output import add_formats, show


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path, help="the trace; its kernel events are the .kernel.arrow beside it")
    add_formats(parser)


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    trace = load(options.file)
    kernel_of(trace)
    whole = account(trace)
    sums, vcpus = summed(trace, whole), by_vcpu(trace)
    times = by_handling(sums)
    tables = {"reasons": by_reason(times), "time": time_by_vcpu(sums, whole), "details": by_detail(trace)}
    tables |= {"times": times, "vcpus": vcpus, "events": by_event(trace)}
    show(tables, options, "\n".join(notes(trace, vcpus, times)))
    return 0
