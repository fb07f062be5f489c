"""The verbs: what a client can ask of a machine."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.control.errors import ControlError
from runner.control.protocol import Request
from runner.control.subject import Subject
from runner.kvm.errors import KvmError
from runner.machine.lifecycle import LifecycleError, State
from runner.machine.result import Ending
from vmspec.host.pathtext import from_text, to_text
from vmspec.trace.inputs import NMI
from vmspec.trace.record import PAGE

if TYPE_CHECKING:
    from runner.machine.machine import Machine
    from runner.machine.virtual import VirtualTime

LONGEST = 3600.0  # seconds that a client may let a verb wait


class Verb(NamedTuple):
    """A verb: what does it, the types of its arguments, which a request may leave out, and whether it may wait, in
    which case the loop must not do it."""

    perform: Callable[..., Any]
    takes: Mapping[str, type] = {}
    waits: bool = False


class HandOver(NamedTuple):
    """The result of a verb after which the connection belongs to ``taker``."""

    result: Any
    taker: Callable[[socket.socket], None]


class Verbs:
    """Does requests to one machine."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def find(self, request: Request) -> Verb:
        """The verb of a request. Raises ControlError if there is none, or an argument is wrong."""
        verb = VERBS.get(request.verb)
        if verb is None:
            raise ControlError("verb", f"there is no verb {request.verb!r}: the verbs are {', '.join(VERBS)}")
        for name, value in request.arguments.items():
            if name not in verb.takes:
                known = f"it takes {', '.join(verb.takes)}" if verb.takes else "it takes none"
                raise ControlError("argument", f"{request.verb} has no argument {name!r}: {known}")
            _check(name, value, verb.takes[name])
        return verb

    def perform(self, request: Request) -> Any:
        """Do a request; returns its result, which may be a :class:`HandOver`. Raises ControlError."""
        try:
            return self.find(request).perform(self._subject, **request.arguments)
        except ControlError:
            raise
        except LifecycleError as error:
            raise ControlError("state", str(error)) from error
        except (TimeoutError, KvmError) as error:
            raise ControlError("failed", str(error)) from error
        except BaseException as error:  # a user's device may raise anything, which must not end the run or its control
            raise ControlError("failed", f"{request.verb} failed: {error!r}") from error


def _check(name: str, value: object, wanted: type) -> None:
    """Raises ControlError for an argument of another type."""
    match value:
        case bool():
            fits = wanted is bool
        case int():
            fits = wanted in (int, float)
        case _:
            fits = isinstance(value, wanted)
    if not fits:
        words = {bool: "true or false", int: "a number without a fraction", float: "a number", str: "a string"}
        raise ControlError("argument", f"{name} must be {words[wanted]}")


def _status(subject: Subject) -> dict[str, Any]:
    machine = subject.machine
    plan = machine.plan
    return {
        "state": str(machine.state),
        "spec": _text(plan.path),
        "trace": _text(plan.trace.path),
        "vcpus": plan.vm.vcpus,
        "memory": plan.vm.memory,
        "seconds": subject.rings.elapsed() / 1e9,
        "exits": sum(map(sum, machine.counts())),
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else to_text(path)


def _pause(subject: Subject, timeout: float = 10.0) -> bool:
    if not 0 < timeout <= LONGEST:
        raise ControlError("argument", f"timeout must be more than 0 and at most {LONGEST:g} seconds")
    return _unless_ended(subject.machine.pause(timeout))


def _resume(subject: Subject) -> bool:
    return _unless_ended(subject.machine.resume())


def _unless_ended(done: bool) -> bool:
    if not done:
        raise ControlError("state", "the run has ended")
    return done


def _stop(subject: Subject) -> bool:
    subject.machine.end(Ending("interrupted", detail="stopped with vmrun stop"))
    return True


def _reset(subject: Subject) -> bool:
    subject.machine.end(Ending("reset", detail="reset with vmrun reset"))
    return True


def _inspect(subject: Subject, path: str = "") -> dict[str, Any]:
    from runner.control.inspection.machine import tree
    from runner.control.inspection.tree import select

    stood = 0.0

    @contextmanager
    def standing() -> Iterator[None]:
        nonlocal stood
        with subject.machine.standing() as stands:
            begin = time.monotonic()
            _unless_ended(stands)
            yield
            stood = time.monotonic() - begin

    value, _ = select(tree(subject), path, standing)
    return {"value": value, "stood": stood}


def _counters(subject: Subject) -> dict[str, Any]:
    from runner.control.inspection.machine import counters

    memory = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    return {"seconds": subject.rings.elapsed() / 1e9, "resident": memory, **counters(subject)}


def _power(subject: Subject) -> bool:
    return _unless_ended(subject.machine.commands.power_button())


def _break(subject: Subject, device: str = "") -> bool:
    return _unless_ended(subject.machine.commands.line_break(device))


def _sysrq(subject: Subject, key: str = "", device: str = "") -> bool:
    try:
        return _unless_ended(subject.machine.commands.sysrq(key, device))
    except ValueError as error:
        raise ControlError("argument", str(error)) from error


def _resize(subject: Subject, columns: int = 0, rows: int = 0, device: str = "") -> bool:
    try:
        return _unless_ended(subject.machine.commands.resize(columns, rows, device))
    except ValueError as error:
        raise ControlError("argument", str(error)) from error


def _nmi(subject: Subject, vcpu: int | None = None) -> bool:
    machine = subject.machine
    count = len(machine.vcpus)
    if vcpu is not None and not 0 <= vcpu < count:
        raise ControlError("argument", f"there is no vCPU {vcpu}: the machine has {count}, from 0 on")
    if machine.time is not None:
        return _unless_ended(_nmi_at_exit(machine, machine.time))
    with machine.standing() as stands:  # KVM_NMI waits for KVM_RUN to return
        _unless_ended(stands)
        for index in range(count) if vcpu is None else (vcpu,):
            machine.inputs.admit("command", machine.vcpus[index].nmi, data=NMI.format(index).encode())
    return True


def _nmi_at_exit(machine: "Machine", time: "VirtualTime") -> bool:
    """Give a machine with virtual time an NMI at the guest's next exit, where a replay can repeat it."""
    machine.commands.repeatable("an NMI")
    if machine.state is State.ENDED:
        return False
    what = partial(time.nmi, machine.vcpus[0])
    machine.buses.enter(lambda: machine.inputs.admit("command", what, data=NMI.format(0).encode()))
    return True


def _balloon(subject: Subject, size: int | None = None) -> dict[str, Any]:
    commands = subject.machine.commands
    if size is not None:
        try:
            _unless_ended(commands.set_balloon(size))
        except ValueError as error:
            raise ControlError("argument", str(error)) from error
    found = commands.balloon()
    return {
        "target": found.target if size is None else size,
        "actual": found.actual,
        "statistics": dict(found.statistics),
    }


def _absolute(verb: str, path: str) -> Path:
    """The path of a file that a verb writes. Raises ControlError."""
    try:
        to = from_text(path)
    except ValueError as error:
        raise ControlError("argument", f"path {error}") from error
    if not to.is_absolute():
        raise ControlError("argument", f"{verb} needs the absolute path of a file")
    return to


def _dump(subject: Subject, path: str = "") -> dict[str, Any]:
    from runner.control.dump.writing import dump

    to = _absolute("dump", path)
    with subject.machine.standing() as stands:
        _unless_ended(stands)
        try:
            return {"bytes": dump(subject.machine, to)}
        except OSError as error:
            raise ControlError("failed", f"{to} cannot be written: {error.strerror}") from error


def _snapshot(subject: Subject, path: str = "", stop: bool = False, base: str = "") -> dict[str, Any]:
    from runner.snapshot.errors import SnapshotError
    from runner.snapshot.taking import based, take

    to, machine = _absolute("snapshot", path), subject.machine
    upon = _absolute("snapshot", base) if base else None
    if subject.debugged():
        raise ControlError("state", "a debugger is attached, whose breakpoints may lie in memory: detach it first")
    try:
        with based(to, upon, machine) as chain, machine.standing() as stands:
            _unless_ended(stands)
            try:
                written = take(machine, to, chain)
            except OSError as error:
                raise ControlError("failed", f"{to} cannot be written: {error.strerror}") from error
            if stop:
                machine.end(Ending("interrupted", detail=f"stopped, and goes on from {to}"))
    except SnapshotError as error:
        raise ControlError("failed", str(error)) from error
    return {"bytes": written}


def _gdb(subject: Subject) -> HandOver:
    if subject.debugged():
        raise ControlError("state", "a debugger is attached already")
    return HandOver(True, subject.debug)


def _console(subject: Subject, port: str = "", types: bool = True) -> HandOver:
    assert subject.consoles is not None
    return HandOver(*subject.consoles.choose(port, types))


VERBS: Mapping[str, Verb] = {
    "status": Verb(_status),
    "inspect": Verb(_inspect, {"path": str}, waits=True),
    "counters": Verb(_counters),
    "pause": Verb(_pause, {"timeout": float}, waits=True),
    "resume": Verb(_resume, waits=True),
    "dump": Verb(_dump, {"path": str}, waits=True),
    "snapshot": Verb(_snapshot, {"path": str, "stop": bool, "base": str}, waits=True),
    "gdb": Verb(_gdb),
    "console": Verb(_console, {"port": str, "types": bool}),
    "power": Verb(_power),
    "break": Verb(_break, {"device": str}),
    "sysrq": Verb(_sysrq, {"key": str, "device": str}),
    "resize": Verb(_resize, {"columns": int, "rows": int, "device": str}),
    "nmi": Verb(_nmi, {"vcpu": int}, waits=True),
    "balloon": Verb(_balloon, {"size": int}),
    "stop": Verb(_stop),
    "reset": Verb(_reset),
}
