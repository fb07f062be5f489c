"""The ``vmrun`` command. It turns results and errors into exit statuses and text; :mod:`runner.session.session` does
the rest."""

import argparse
import errno
import gc
import sys
from contextlib import suppress
from pathlib import Path

from runner.expect.cases import counted
from runner.machine.result import HOST, INTERRUPTED, WRONG, Result
from vmspec import SpecError, __version__
from vmspec.host import commandline
from vmspec.host.pathtext import to_text
from vmspec.host.printable import printable
from vmspec.host.streams import BROKEN_PIPE, abandon, held, open_streams

STATUSES = """exit status:
    0  the guest ended as the spec expects
    1  an expectation was not met
    2  the spec or the command line is wrong, the run differs from its lock, or a device model failed
    3  the host cannot run the machine, KVM_RUN failed, or the process that served a device was lost
    4  the guest crashed, or KVM could not continue
    5  the guest did not end within vm.timeout
    6  the trace, the console or a network capture could not be written
  130  a signal or Ctrl-A x ended the run, or the console's reader closed it

With the debug-exit device the guest chooses the status: the value that it writes times two, plus one."""


# Words that, as the first argument, are a command and not a spec. Each is a module of runner.commands.
VERBS = {
    "test": "run specs as a test suite",
    "campaign": "run specs many times, and measure each run",
    "replay": "compare a recording with the device models, without KVM",
    "list": "list the machines that run",
    "inspect": "show what is in a running machine, as a tree",
    "stat": "show a running machine's exits per second",
    "console": "attach to a running machine's console",
    "pause": "pause a running machine",
    "resume": "let a paused machine go on",
    "gdb": "debug a running machine with gdb",
    "dump": "write a running machine's memory and registers into a core file",
    "snapshot": "write a machine's whole state into a file, to go on from it",
    "power": "press a machine's power button",
    "sysrq": "press a magic SysRq key of a machine",
    "nmi": "send a machine a non-maskable interrupt",
    "balloon": "show or change how much memory a guest returns",
    "stop": "end a run; its trace is complete",
    "reset": "press a machine's reset button, which ends its run",
    "kill": "kill the process of a machine",
}
WIDTH = max(map(len, VERBS))
STDIO = "stdio"


def main(argv: list[str] | None = None) -> int:
    """Run a spec, or a command of :data:`VERBS`; return the exit status. Without ``argv`` this process is the command,
    whose signal handlers stay until it ends; else they are the caller's again."""
    open_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        with commandline.warned("vmrun"):
            if words and words[0] in VERBS:
                return command(words[0], words[1:])
            return execute(parser().parse_args(words), alone=argv is None)
    except OSError as error:  # execute() reports all expected errors in detail
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        hint = "; allow more of them with ulimit -n" if error.errno == errno.EMFILE else ""
        return complain(f"{what}{hint}", HOST)


def command(verb: str, words: list[str]) -> int:
    """Run a command of :data:`VERBS`, return the exit status."""
    try:
        from vmspec.host.signals import unwinding

        options = verb_parser(verb).parse_args(words)
    except ImportError as error:
        if error.name != "runner.native._native":
            raise
        return complain(error, HOST)
    gc.enable()  # see runner.entry
    gc.freeze()
    try:
        with unwinding():
            status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(sys.stdout)
        return BROKEN_PIPE
    return status


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """The command line of a command of :data:`VERBS`."""
    from importlib import import_module

    module = import_module(f"runner.commands.{verb}")
    made = commandline.Parser(
        prog=f"vmrun {verb}", description=module.__doc__, epilog=module.STATUSES, allow_abbrev=False
    )
    module.prepare(made)
    made.set_defaults(run=module.run)
    return made


def execute(arguments: argparse.Namespace, alone: bool) -> int:
    """Run the spec that the arguments name, report how it ended, return the exit status. ``alone``: the process has
    nothing else to do."""
    try:
        from runner import signals
        from runner.session import session  # noqa: F401 - all that may fail to load
    except ImportError as error:
        if error.name != "runner.native._native":
            raise
        return complain(error, HOST)
    gc.enable()  # see runner.entry
    gc.freeze()
    if alone:
        signals.catch_all()
        return perform(arguments)
    with signals.all_caught():
        return perform(arguments)


def perform(arguments: argparse.Namespace) -> int:
    """Run the spec, while signals request the end of the run."""
    from runner.session.failures import RAISED, exit_status
    from runner.session.session import run

    if arguments.verify is None and (extra := verifying(arguments)):
        return complain(f"{extra} is for --verify N", WRONG)
    if arguments.until is not None and not arguments.replay:
        return complain("--until is for --replay", WRONG)
    if arguments.restore and (other := not_restored(arguments)):
        return complain(f"{other} is for a run from the start, and --restore goes on from a snapshot", WRONG)
    try:
        if arguments.replay:
            from runner.replay.command import perform as replay

            with held() as (input, output, _):
                return replay(arguments, overrides(arguments), notice, _gdb(arguments.gdb, input, output))
        if arguments.verify is not None:
            from runner.verification.command import perform as verify  # late: few runs are verified

            return verify(arguments, overrides(arguments), notice)
        with held() as (input, output, error_output):
            over_stdio = arguments.gdb == STDIO
            result = run(
                arguments.spec,
                overrides=overrides(arguments),
                record=not arguments.no_trace,
                input=None if over_stdio else input,
                # With --json, standard output has the result and nothing else; with --gdb stdio, it is gdb's.
                output=error_output if arguments.json or over_stdio else output,
                notice=notice,
                locked=arguments.locked,
                unlocked=arguments.unlocked,
                images=arguments.images,
                control=arguments.name or True,
                gdb=_gdb(arguments.gdb, input, output),
                restore=arguments.restore,
            )
    except RAISED as error:
        return complain(error, exit_status(error))
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    if arguments.json:
        return print_json(result)
    conclude(result, recordable=not arguments.no_trace)
    return result.status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    commands = commandline.Parser(
        prog="vmrun",
        description="Run the virtual machine that a TOML spec describes. Every exit is recorded into the\n"
        "file that trace.path names in the spec, or --trace here.\n\nCommands, each with a --help of its own:\n"
        + "\n".join(f"  {verb:<{WIDTH}}  {what}" for verb, what in VERBS.items()),
        epilog=STATUSES,
        allow_abbrev=False,
    )
    commands.add_argument(
        "spec", type=Path,
        help="a spec (a TOML file), a bundle (.vmz) or a trace (.arrow or .arrows); with --restore, a snapshot",
    )  # fmt: skip
    commands.add_argument("--version", action="version", version=f"vmrun {__version__}")
    trace = commands.add_mutually_exclusive_group()
    trace.add_argument("--trace", metavar="FILE", type=trace_file, help="record into FILE; overrides trace.path")
    trace.add_argument("--no-trace", action="store_true", help="record nothing; overrides trace.path")
    commands.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="sets",
        help="override a key of the spec, as in vm.memory=1GiB or device[0].com=2; may be repeated",
    )  # fmt: skip
    locks = commands.add_mutually_exclusive_group()
    locks.add_argument(
        "--locked", action="store_true",
        help="run the spec only if it agrees with the lock beside it; see vmspec lock, and lock.require in the spec",
    )  # fmt: skip
    locks.add_argument(
        "--unlocked", action="store_true",
        help="run a bundle, or a spec with lock.require, even if it differs from its lock; print what differs",
    )  # fmt: skip
    commands.add_argument(
        "--images", metavar="DIR", action="append", default=[], type=Path,
        help="for a trace: look for its images in DIR too, by their hashes; may be repeated",
    )  # fmt: skip
    commands.add_argument(
        "--name", type=given_name,
        help="the name for commands such as vmrun pause NAME; default: vm.name, or one like it that is free",
    )  # fmt: skip
    commands.add_argument(
        "--gdb", metavar="ADDRESS", type=gdb_address,
        help="wait for gdb before the first instruction, at HOST:PORT, :PORT, unix:PATH or stdio",
    )  # fmt: skip
    commands.add_argument(
        "--restore", action="store_true",
        help="go on from a snapshot (vmrun snapshot); it is recorded only with --trace",
    )  # fmt: skip
    replays = commands.add_argument_group('replaying a trace (time = "virtual")')
    replays.add_argument(
        "--replay", action="store_true",
        help="run what the trace recorded with no device: compare each exit, and answer it from the trace",
    )  # fmt: skip
    replays.add_argument(
        "--until", metavar="N", type=commandline.count, help="end the replay after N exits, and print the registers"
    )
    verification = commands.add_argument_group("verifying that runs repeat")
    verification.add_argument(
        "--verify", metavar="N", type=commandline.count,
        help="make N runs, all but the first disturbed, and compare exits, registers and memory; instead of --trace",
    )  # fmt: skip
    verification.add_argument(
        "--seed",
        metavar="N",
        type=commandline.count,
        help="the seed of the disturbance, as an earlier verdict shows it",
    )
    verification.add_argument(
        "--keep", metavar="DIR", type=Path,
        help="keep the traces of all runs in DIR; else two that differ are kept in vmrun-verify",
    )  # fmt: skip
    verification.add_argument(
        "--every", metavar="N", type=commandline.count,
        help="compare registers and memory after each N exits too, and name where they differ first",
    )  # fmt: skip
    verification.add_argument(
        "--into-lock", action="store_true",
        help="the runs must agree with the lock beside the spec, as with --locked; write the verdict into it",
    )  # fmt: skip
    commands.add_argument("--timeout", metavar="DURATION", help="end the run after this time, as in 60s")
    commands.add_argument("--json", action="store_true", help="print the result as JSON; the console goes to stderr")
    return commands


def verifying(arguments: argparse.Namespace) -> str | None:
    """The first option that was given and is for --verify only."""
    given = {
        "--seed": arguments.seed,
        "--keep": arguments.keep,
        "--every": arguments.every,
        "--into-lock": arguments.into_lock,
    }
    return next((name for name, value in given.items() if value), None)


def not_restored(arguments: argparse.Namespace) -> str | None:
    """The first option that was given and cannot be beside --restore."""
    others = ("locked", "unlocked", "images", "replay", "verify")
    return next((f"--{name}" for name in others if getattr(arguments, name) not in (None, False, [])), None)


def trace_file(text: str) -> Path:
    """The file of --trace, relative to the caller's directory. Raises ArgumentTypeError."""
    if text in ("", "-") or text.endswith("/"):
        what = {"": "is empty", "-": "is not a file"}.get(text, "is a directory")
        raise argparse.ArgumentTypeError(
            f"{text!r} {what}: give a file, as in --trace boot.arrow"
            + ("; while the machine runs, vmtrace events -f boot.arrow prints it" if text == "-" else "")
        )
    return Path(text)


def given_name(text: str) -> str:
    """The name of --name. Raises ArgumentTypeError."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: give a name, as in --name guest")
    return text


def gdb_address(text: str) -> str:
    """The address of --gdb. Raises ArgumentTypeError."""
    from runner.control.gdb.address import Address  # late: few runs are debugged

    if text != STDIO:
        try:
            Address.of(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _gdb(address: str | None, input: int | None, output: int | None) -> str | tuple[int, int] | None:
    """What --gdb stands for. Raises HostError if it is a standard stream that is closed."""
    if address != STDIO:
        return address
    if input is None or output is None:
        from runner.kvm.errors import HostError

        raise HostError("--gdb stdio needs standard input and standard output, and one of them is closed")
    return input, output


def overrides(arguments: argparse.Namespace) -> tuple[str, ...]:
    """All options that change the machine, as --set expressions, so that the trace records all of them."""
    sets = list(arguments.sets)
    if arguments.timeout is not None:
        sets.append(f"vm.timeout={arguments.timeout}")
    if arguments.trace is not None:
        sets.append(f"trace.path={arguments.trace.absolute()}")
    return tuple(sets)


def notice(text: str) -> None:
    """Print a notice while the guest runs."""
    complain(text, 0)


def complain(error: object, status: int) -> int:
    """Print what is wrong. A spec's problems are a line each."""
    commandline.complain("vmrun", *(error.problems if isinstance(error, SpecError) else (error,)))
    return status


def conclude(result: Result, recordable: bool) -> None:
    """Print the closing lines on standard error. ``recordable``: the user did not turn recording off."""
    if result.console and not result.console.endswith(b"\n") and sys.stdout.isatty():
        from runner.loop import Latch
        from runner.session.console import Output

        given_up = Latch()
        given_up.set()  # do not wait for a terminal that nobody reads
        output = Output(sys.stdout.fileno(), given_up)
        with suppress(OSError):
            output.write(b"\n")
        output.close()
        given_up.close()
    for note in result.notes:
        complain(note, 0)
    if result.report:
        for line in result.report.splitlines():
            complain(line, 0)
        if result.report_path:
            complain(f"this report is in {result.report_path}", 0)
    elif result.detail:
        complain(result.detail, 0)
    if result.cases:
        complain(counted(result.cases), 0)
    for failure in result.unmet:
        complain(f"expectation failed: {failure}", 0)
        if failure.look:
            complain(f"to see it: {failure.look}", 0)
    exits = sum(count for reason, count in result.counters.items() if reason != "dropped")
    if result.trace:
        recorded = f"recorded in {result.trace}"
    elif recordable and result.kind != "trace-failed":
        recorded = "not recorded (to record: --trace FILE, or trace.path in the spec)"
    else:
        recorded = "not recorded"
    count = "1 exit" if exits == 1 else f"{exits:,} exits"
    complain(f"{result.kind} after {result.seconds:.2f} s; {count}, {recorded}", 0)
    if lost := result.counters["dropped"]:
        count = "1 exit was" if lost == 1 else f"{lost:,} exits were"
        complain(f"{count} not recorded: the ring was full (trace.full)", 0)


def print_json(result: Result) -> int:
    """Print the result as one JSON object on standard output."""
    import json

    values = result._asdict()
    values["detail"], values["notes"] = printable(result.detail), [printable(note) for note in result.notes]
    values["unmet"] = [failure._asdict() for failure in result.unmet]
    values["cases"] = [case._asdict() for case in result.cases]
    values["console"] = result.console.decode("utf-8", "replace")
    try:
        print(json.dumps(values, default=to_text, indent=2), flush=True)
    except OSError:
        abandon(sys.stdout)
    return result.status


if __name__ == "__main__":
    sys.exit(main())
