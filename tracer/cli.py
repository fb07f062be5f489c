"""``vmtrace``: read, recover and analyse traces.

Exit status 0; 1 if ``diff`` or ``campaign`` found a difference; 2 for a bad trace or command line, and if a result
cannot be written; 130 if a signal ended it.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from tracer.format.errors import TraceError, TraceWarning
from vmspec import __version__
from vmspec.host.commandline import Parser, complain
from vmspec.host.streams import BROKEN_PIPE, abandon, open_streams
from vmspec.trace.files import exists, ring_path, stream_path

PROGRAM = "vmtrace"
INTERRUPTED = 130  # the exit status that a shell reports for a command that SIGINT ended; for other signals too

# Each is a module of tracer.commands.
COMMANDS = {
    "summary": "exits by reason, device and address; time by vCPU",
    "timeline": "the boot by console lines: phases and longest gaps",
    "hot": "the guest's instructions and functions with the most exits",
    "report": "one HTML page with timeline, console and tables; opens offline",
    "diff": "compare two traces, or two sets of runs",
    "campaign": "the runs of a campaign, or how two campaigns differ",
    "events": "exits one by one, decoded; can follow a running machine",
    "top": "exits of a running machine, live",
    "tracepoints": "exits that KVM handled, beside those that reached userspace",
    "inputs": "inputs from outside the machine, each with the exit that it preceded",
    "io": "requests to virtio devices: latency, number in flight, the slowest with their notifications",
    "sql": "run SQL statements on a trace with DuckDB",
    "columns": "names, units and meanings of all columns",
    "console": "the guest's console output, byte for byte",
    "info": "the machine, the host, and whether the trace is complete",
    "export": "export to Perfetto, Chrome, flame graphs, Parquet, CSV, Wireshark",
    "merge": "join traces of several machines, in the order of the host's time",
    "convert": "convert a trace to .arrow, .arrows, .parquet or .csv",
    "recover": "make a trace from the files of a killed run",
}

STATUSES = """exit status:
    0  the result was written
    1  diff, campaign: there is a difference
    2  the trace or the command line is wrong, or the result could not be written
  130  a signal ended it; what was found until then is printed
  141  the reader of the output closed it

vmtrace COMMAND --help explains the command."""

FORMER = {"kernel": "tracepoints"}  # former names, accepted for one release


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit status."""
    open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in FORMER:
        complain(PROGRAM, f"{arguments[0]} is now called {FORMER[arguments[0]]}")
        arguments[0] = FORMER[arguments[0]]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        complain(PROGRAM, _no_command(arguments[0]))
        return 2
    try:
        options = _parser(*arguments[:1]).parse_args(arguments)
        for path in _newer(options):
            complain(PROGRAM, f"{path} also exists: a later run is still recording, or was killed (vmtrace recover)")
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", TraceWarning)
            try:
                status: int = options.run(options)
                sys.stdout.flush()
            finally:
                for message in dict.fromkeys(str(warning.message) for warning in noted):
                    complain(PROGRAM, message)
    except TraceError as error:
        complain(PROGRAM, *error.args)
        return 2
    except KeyboardInterrupt:  # Ctrl-C also stops following a run; print what was found until then
        try:
            sys.stdout.flush()
        except OSError:
            abandon(sys.stdout)
        return INTERRUPTED
    except BrokenPipeError:
        abandon(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:  # for a trace that cannot be read, TraceError says more
        abandon(sys.stdout)
        what = error.filename if error.filename is not None else "cannot write the result"
        complain(PROGRAM, f"{what}: {error.strerror or error}")
        return 2
    return status


def _no_command(word: str) -> str:
    """The message for a first word that is no command."""
    commands = ", ".join(COMMANDS)
    if exists(Path(word)):
        return f"{word} is a file, and a command comes first, as in vmtrace summary {word} (commands: {commands})"
    near = get_close_matches(word, COMMANDS, n=1)
    return f"there is no command {word!r}; " + (f"did you mean {near[0]}?" if near else f"there are {commands}")


def _newer(options: argparse.Namespace) -> Iterator[Path]:
    """A notice about a later run's files beside the finished traces to be read."""
    given = [*getattr(options, "files", ()), *getattr(options, "against", ()), getattr(options, "file", None)]
    if getattr(options, "follow", False) or options.command in ("top", "recover"):
        return  # these read it
    for file in given:
        if file is not None and file.suffix == ".arrow" and exists(file):
            stream = stream_path(file)
            # A run that continues, or was killed, has its rings there; a stream alone is what vmtrace convert writes.
            if exists(stream) and exists(ring_path(file)) and stream.stat().st_mtime_ns > file.stat().st_mtime_ns:
                yield stream


def _parser(first: str = "") -> argparse.ArgumentParser:
    """The parser of a command line. If its first word is a command, the parser has only that one: building all of them
    takes longer than analysing a small trace."""
    parser = Parser(prog=PROGRAM, description="Read, recover and analyse traces of vmrun.", epilog=STATUSES)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    if first in COMMANDS:
        command = commands.add_parser(first, description=COMMANDS[first])
        module = import_module(f"tracer.commands.{first}")
        module.prepare(command)
        command.set_defaults(run=module.run, command=first)
    else:
        for name, text in COMMANDS.items():
            commands.add_parser(name, help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
