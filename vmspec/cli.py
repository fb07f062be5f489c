"""The ``vmspec`` command: check, show, plan, lock and bundle specs, and list their keys.

Exit status 0; 1 if a lock differs (vmspec lock, bundle); 2 if a spec, a lock, a bundle or the command line is wrong, or
a result cannot be written; 3 if this host cannot be queried for a lock; 130 if a signal ended it.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword

from vmspec import __version__
from vmspec.host.commandline import Parser, complain, warned
from vmspec.host.streams import BROKEN_PIPE, abandon, open_streams
from vmspec.schema.problems import SpecError

PROGRAM = "vmspec"

# Each is a module of vmspec.commands.
COMMANDS = {
    "check": "report every problem in specs and their images",
    "show": "print the resolved spec as TOML",
    "plan": "print the plan: memory map, devices, KVM calls",
    "lock": "write the lock of a spec, or compare the run with it",
    "bundle": "pack a spec and every file that its run reads",
    "unbundle": "unpack a bundle into a folder",
    "cpuid": "write a CPU model, a table of this host's CPUID",
    "import": "convert another tool's configuration to a spec",
    "new": "print a complete spec to start from",
    "export": "convert a spec's machine to another tool's configuration",
    "keys": "list every table and key of a spec",
    "schema": "print the JSON Schema of specs, for editors",
}

STATUSES = """exit status:
    0  the spec has no problem
    1  lock, bundle: the lock differs; import, export: --strict; import: no kernel
    2  the spec, the bundle or the command line is wrong, or the result could not be written
    3  lock, bundle: the host cannot be queried
  130  a signal ended it
  141  the reader of the output closed it"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong arguments raise SystemExit(2)."""
    open_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(*words[:1]).parse_args(words)
    try:
        with warned(PROGRAM):
            status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:  # for files that a spec names, SpecError says more
        abandon(sys.stdout)
        complain(PROGRAM, f"{error.filename or 'cannot write'}: {error.strerror}")
        return 2
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser(first: str = "") -> argparse.ArgumentParser:
    """The parser of a command line. If its first word is a command, the parser has only that one."""
    parser = Parser(prog=PROGRAM, description="Check, show and plan the spec of a virtual machine.", epilog=STATUSES)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        if first not in COMMANDS:
            commands.add_parser(name, help=text)
        elif name == first:
            module = import_module(f"vmspec.commands.{name}{'_' * iskeyword(name)}")
            command = commands.add_parser(name, description=text)
            module.prepare(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
