"""The expectations of a spec for the runner, checked against the machine."""

from collections.abc import Iterator, Sequence

from vmspec.plan.plan import PlannedDevice
from vmspec.plan.settings import PlannedExpect, PlannedLimit, PlannedPlace, PlannedVerdict
from vmspec.schema.keypath import join
from vmspec.schema.problems import Problem
from vmspec.schema.value import nearest
from vmspec.spec.expect import Expect
from vmspec.spec.models import Trace


def planned(expect: Expect, trace: Trace, devices: Sequence[PlannedDevice], problems: list[Problem]) -> PlannedExpect:
    """The expectations of a run on a machine with these devices."""
    made = PlannedExpect(
        console=expect.console,
        absent=expect.absent,
        patterns=expect.patterns,
        forbidden=expect.forbidden,
        exit=expect.exit,
        status=expect.status,
        ktap=expect.ktap,
        tap=expect.tap,
        ports=tuple(_verdicts(expect, devices, problems)),
        unclaimed=expect.unclaimed,
        allow=tuple(PlannedPlace(start, size) for start, size in expect.allow),
        errors=expect.errors,
        reference=expect.reference,
        differ=expect.differ,
        limits=tuple(_limits(expect, devices, problems)),
    )
    if trace.full == "drop":
        message = 'needs every exit in the trace: trace.full must be "wait"'
        problems += (Problem(key, message) for key in made.of_trace())
    if expect.errors == "none" and not trace.requests:
        problems.append(Problem("expect.errors", "needs the requests in the trace: trace.requests must be true"))
    if expect.reference is not None and not expect.reference.is_file():
        message = "there is no such file: run without this key, record a trace, and give its name here"
        problems.append(Problem("expect.reference", message, str(expect.reference)))
    return made


def _limits(expect: Expect, devices: Sequence[PlannedDevice], problems: list[Problem]) -> Iterator[PlannedLimit]:
    if (exits := expect.exits) is not None:
        if exits.all is not None:
            yield PlannedLimit("expect.exits.all", "exits", exits.all)
        for name, most in exits.reason.items():
            yield PlannedLimit(f"expect.exits.reason.{name}", "reason", most, name)
        names = [device.name for device in devices]
        for name, most in exits.device.items():
            key = join(("expect", "exits", "device", name))
            if name not in names:
                allowed = ", ".join(names) or "the machine has none"
                problems.append(Problem(key, "is not a device", None, allowed, nearest(name, names)))
            yield PlannedLimit(key, "device", most, name)
    if (time := expect.time) is not None:
        for what, span in (("guest", time.guest), ("handling", time.handling)):
            if span is not None:
                yield PlannedLimit(f"expect.time.{what}", what, span)
        for text, span in time.line.items():
            yield PlannedLimit(join(("expect", "time", "line", text)), "line", span, text)


def _verdicts(expect: Expect, devices: Sequence[PlannedDevice], problems: list[Problem]) -> Iterator[PlannedVerdict]:
    ports = {end.name: (device.name, end.output) for device in devices for end in device.ends if end.name}
    for name, verdict in expect.ports.items():
        key = join(("expect", "ports", name))
        device, output = ports.get(name, ("", None))
        if output is None:
            allowed = ", ".join(ports) or "the machine has none"
            problems.append(Problem(key, "is not a port of a virtio-console", None, allowed, nearest(name, ports)))
        elif output == "stdout":
            problems.append(Problem(key, 'prints to "stdout": what comes there is expected with expect.console'))
        text, members = (verdict, {}) if isinstance(verdict, str) else (None, verdict)
        yield PlannedVerdict(key, name, f"{device}.{name}", text, members)
