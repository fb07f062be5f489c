"""The ``vmspec`` command: check, show, plan, lock and bundle specs, and list their keys.

Exit status 0; 1 if a lock differs (vmspec lock, bundle); 2 if a spec, a lock, a bundle or the command line is wrong, or
a result cannot be written; 3 if this host cannot be queried for a lock; 130 if a signal ended it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vmspec import __version__
from vmspec.document import Document
from vmspec.exchange import READERS, WRITERS
from vmspec.host.commandline import Parser, complain, warned
from vmspec.host.printable import printable
from vmspec.host.streams import BROKEN_PIPE, abandon, columns, open_streams
from vmspec.schema.problems import SpecError

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
    arguments = _parser().parse_args(argv)
    try:
        with warned("vmspec"):
            status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(sys.stdout)
        return BROKEN_PIPE
    except OSError as error:  # for files that a spec names, SpecError says more
        abandon(sys.stdout)
        complain("vmspec", f"{error.filename or 'cannot write'}: {error.strerror}")
        return 2
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="vmspec", description="Check, show and plan the spec of a virtual machine.", epilog=STATUSES)
    parser.add_argument("--version", action="version", version=f"vmspec {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    override = Parser(add_help=False)
    override.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the spec, as in vm.memory=1GiB; may be repeated",
    )

    def command(name: str, what: str, *parents: Parser) -> Parser:
        added: Parser = commands.add_parser(name, parents=parents, help=what, description=what)
        return added

    check = command("check", "report every problem in specs and their images", override)
    check.add_argument("specs", nargs="+", metavar="SPEC", help="a spec, a TOML file")
    check.set_defaults(run=_check)

    show = command("show", "print the resolved spec as TOML", override)
    show.add_argument("spec", metavar="SPEC", help="the spec, a TOML file")
    show.set_defaults(run=_show)

    plan = command("plan", "print the plan: memory map, devices, KVM calls", override)
    plan.add_argument("spec", metavar="SPEC", help="the spec, a TOML file")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.set_defaults(run=_plan)

    lock = command("lock", "write the lock of a spec, or compare the run with it", override)
    lock.add_argument("spec", metavar="SPEC", help="the spec, a TOML file; its lock is SPEC.lock")
    what = lock.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="replace the lock, even if it differs")
    what.add_argument(
        "--check",
        action="store_true",
        help="print a line for each difference; exit status 1 if vmrun --locked would reject the run",
    )  # fmt: skip
    what.add_argument(
        "--diff",
        action="store_true",
        help="print the old and the new value of each difference; exit status 1 if there is one",
    )
    lock.set_defaults(run=_lock)

    bundle = command("bundle", "pack a spec and every file that its run reads", override)
    bundle.add_argument("spec", metavar="SPEC", help="the spec, a TOML file")
    bundle.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the bundle, FILE.vmz; default: SPEC's name with .vmz"
    )
    bundle.add_argument("--reference", metavar="TRACE", type=Path, help="also pack a trace, to compare runs with")
    bundle.set_defaults(run=_bundle)

    unbundle = command("unbundle", "unpack a bundle into a folder")
    unbundle.add_argument("bundle", metavar="BUNDLE", type=Path, help="the bundle")
    unbundle.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="a new folder; default: BUNDLE's name without .vmz"
    )
    unbundle.set_defaults(run=_unbundle)

    cpuid = command("cpuid", "write a CPU model, a table of this host's CPUID")
    cpuid.add_argument("-o", "--output", metavar="FILE", type=Path, help="write into FILE, for cpu.model in a spec")
    cpuid.add_argument(
        "--common",
        nargs="+",
        metavar="FILE",
        type=Path,
        help="write the largest model that the hosts of these models all support",
    )
    cpuid.set_defaults(run=_cpuid)

    imported = command("import", "convert another tool's configuration to a spec")
    imported.rest = "words"
    imported.add_argument("tool", choices=READERS, metavar="TOOL", help=f"one of {', '.join(READERS)}")
    imported.add_argument(
        "source",
        nargs="?",
        metavar="FILE",
        help="a script with the command, or the tool's own file; - is standard input; or give a command after --",
    )
    imported.add_argument("-o", "--output", metavar="SPEC", type=Path, help="write into SPEC; default: standard output")
    imported.add_argument(
        "--strict", action="store_true", help="write nothing if anything has no counterpart in a spec"
    )
    imported.set_defaults(run=_import, words=None, parser=imported)

    new = command("new", "print a complete spec to start from")
    new.add_argument("kind", choices=("linux", "disk", "flat"), help="Linux; Linux whose root is a disk; a flat guest")
    new.add_argument("--name", metavar="NAME", help="the name of the machine and of its trace; default: KIND")
    new.add_argument("--kernel", metavar="FILE", help="the kernel, or a flat guest's code; default for Linux: vmlinuz")
    new.add_argument("--initrd", metavar="FILE", help="the initrd")
    new.add_argument("--disk", metavar="FILE", action="append", default=[], help="a disk image; may be repeated")
    new.set_defaults(run=_new, parser=new)

    exported = command("export", "convert a spec's machine to another tool's configuration", override)
    exported.add_argument("spec", metavar="SPEC", help="the spec, a TOML file")
    tools = exported.add_mutually_exclusive_group(required=True)
    for tool in WRITERS:
        tools.add_argument(f"--{tool}", dest="tool", action="store_const", const=tool, help=f"for {tool}")
    exported.add_argument("-o", "--output", metavar="FILE", type=Path, help="write into FILE; default: standard output")
    exported.add_argument("--strict", action="store_true", help="write nothing if the tool cannot express all of it")
    exported.set_defaults(run=_export)

    keys = command("keys", "list every table and key of a spec")
    keys.set_defaults(run=_keys)

    schema = command("schema", "print the JSON Schema of specs, for editors")
    schema.set_defaults(run=_schema)
    return parser


def _check(arguments: argparse.Namespace) -> int:
    status = 0
    for path in arguments.specs:
        try:
            combinations = Document.open(path, arguments.set).combinations().values()
            for document in combinations:
                document.plan()
            count = f" ({len(combinations):,} combinations of its matrix)" if len(combinations) > 1 else ""
            print(printable(f"{path}: ok{count}"))
        except SpecError as error:
            print(error, file=sys.stderr)
            status = 2
    return status


def _show(arguments: argparse.Namespace) -> int:
    from vmspec.show.dump import dumps

    # TOML is UTF-8 in any locale; in another one, print only the characters that both share.
    ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(dumps(Document.open(arguments.spec, arguments.set).spec(), ascii=ascii), end="")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    plan = Document.open(arguments.spec, arguments.set).plan()
    if arguments.json:
        from vmspec.plan import serial

        print(serial.dumps(plan))
    else:
        from vmspec.show import render

        print(render.text(plan, columns()), end="")
    return 0


def _lock(arguments: argparse.Namespace) -> int:
    plan = Document.open(arguments.spec, arguments.set).plan()
    from vmspec.lock import command

    mode: command.Mode = "write"
    for name in ("update", "check", "diff"):
        mode = name if getattr(arguments, name) else mode
    return command.run(plan, Path(arguments.spec), mode)


def _bundle(arguments: argparse.Namespace) -> int:
    document = Document.open(arguments.spec, arguments.set)
    from vmspec.bundle import command

    return command.write(document, arguments.output, arguments.reference)


def _unbundle(arguments: argparse.Namespace) -> int:
    from vmspec.bundle import command

    return command.read(arguments.bundle, arguments.output)


def _cpuid(arguments: argparse.Namespace) -> int:
    from vmspec.lock import cpuid

    return cpuid.run(arguments.common, arguments.output)


def _import(arguments: argparse.Namespace) -> int:
    if (arguments.source is None) == (arguments.words is None):
        arguments.parser.error("give either FILE or a command after --")
    from vmspec.exchange import importing

    return importing.run(arguments.tool, arguments.source, arguments.words, arguments.output, arguments.strict)


def _new(arguments: argparse.Namespace) -> int:
    from vmspec.show import new

    name, kernel = arguments.name or arguments.kind, arguments.kernel
    if "/" in name or not name.isprintable():
        arguments.parser.error("--name: must have no / and no control characters, because the trace is named after it")
    match arguments.kind:
        case "flat" if arguments.initrd or arguments.disk:
            arguments.parser.error("a flat guest has neither --initrd nor --disk")
        case "flat":
            text = new.flat(name, kernel)
        case "disk" if not arguments.disk:
            arguments.parser.error("give the disk with the root file system: --disk FILE")
        case kind:
            kernel = "vmlinuz" if kernel is None else kernel
            text = new.linux(name, kernel, arguments.initrd, arguments.disk, root=kind == "disk")
    Document(text, Path.cwd()).spec()
    print(text, end="")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    document = Document.open(arguments.spec, arguments.set)
    from vmspec.exchange import exporting

    return exporting.run(arguments.tool, document.spec(), document.locate, arguments.output, arguments.strict)


def _keys(arguments: argparse.Namespace) -> int:
    from vmspec.show import reference

    print(reference.text(columns()), end="")
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    from vmspec.show.json_schema import json_schema

    _print_json(json_schema())
    return 0


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2, default=str))


if __name__ == "__main__":
    sys.exit(main())
