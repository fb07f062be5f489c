"""``vmtrace``: read, recover and analyse traces. Exit status 0, or 2 for a trace or a call that is wrong."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tracer.errors import TraceError
from tracer.reader import load
from tracer.recovery import recover

BROKEN_PIPE = 141  # what a shell reports of a command that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except TraceError as error:
        print(f"vmtrace: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The interpreter flushes once more at its exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vmtrace", description="Read, recover and analyse traces of vmrun.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    summary = commands.add_parser("summary", help="exits by reason, device and address; where the time went")
    summary.add_argument("file", type=Path)
    summary.add_argument("--json", action="store_true", help="everything, as JSON")
    summary.add_argument("--all", action="store_true", help="every row of every table")
    summary.set_defaults(run=_summary)

    recovery = commands.add_parser("recover", help="make a trace of what a killed run left")
    recovery.add_argument("file", type=Path, help="the trace, its .arrows or its .ring")
    recovery.add_argument("-o", "--output", type=Path, help="default: the .arrow beside them")
    recovery.set_defaults(run=_recover)

    info = commands.add_parser("info", help="what was run, where, and whether the trace is complete")
    info.add_argument("file", type=Path)
    info.set_defaults(run=_info)

    console = commands.add_parser("console", help="what the guest printed, byte for byte")
    console.add_argument("file", type=Path)
    console.add_argument("--device", help="serial or debug port; default: the first")
    console.set_defaults(run=_console)
    return parser


def _summary(options: argparse.Namespace) -> int:
    from tracer.report import as_json, as_text
    from tracer.summary import summarise

    trace = load(options.file)
    summary = summarise(trace.table, trace.summary, trace.devices)
    print(as_json(summary) if options.json else "\n\n".join(as_text(summary, options.all)))
    return 0


def _recover(options: argparse.Namespace) -> int:
    done = recover(options.file, options.output)
    for problem in done.problems:
        print(f"vmtrace: {problem}", file=sys.stderr)
    state = "complete" if done.complete else "all that was recorded before the run was killed"
    rows = f"{done.rows_from_stream + done.rows_from_ring:,} rows ({done.rows_from_ring:,} of them from the rings)"
    print(f"{done.path}: {rows}, {'what could be saved' if done.problems else state}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from tracer.report import pairs, printable

    trace = load(options.file)
    rows = sum(batch.num_rows for batch in trace.batches())
    facts = {"rows": f"{rows:,}", "complete": "yes" if trace.complete else "no"}
    facts |= {key: value for key, value in trace.metadata.items() if "\n" not in value}
    print(pairs(facts))
    for key, value in trace.metadata.items():
        if "\n" in value:
            print(f"\n{printable(key)}")
            print("\n".join(f"  {printable(line)}" for line in value.splitlines()))
    return 0


def _console(options: argparse.Namespace) -> int:
    sys.stdout.buffer.write(load(options.file).console(options.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
