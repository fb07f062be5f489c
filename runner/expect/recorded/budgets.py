"""Limits of exits by device, and of times."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from runner.expect.unmet import Unmet, many
from tracer.analysis.account import Account, account
from tracer.analysis.totals import by, totals
from tracer.read.console import Console, Line
from tracer.read.reader import Trace
from tracer.show.output import duration
from vmspec.plan.settings import PlannedLimit
from vmspec.schema.units import format_duration


def unmet(limits: Iterable[PlannedLimit], trace: Trace) -> Iterator[Unmet]:
    """The limits that the run exceeded."""
    measured = _Measured(trace)
    for limit in limits:
        within = format_duration(limit.most)
        match limit.what:
            case "device":
                if (exits := measured.devices.get(limit.name, 0)) > limit.most:
                    look = f"vmtrace events --where \"device == '{limit.name}'\""
                    yield Unmet(
                        limit.key, f"at most {many(limit.most, 'exit')} of {limit.name}", f"{exits:,} came", look
                    )
            case "guest":
                if (took := sum(life.kvm_run_ns for life in measured.account.vcpus.values())) > limit.most:
                    expected = f"at most {within} in the guest"
                    yield Unmet(limit.key, expected, f"it took {duration(took)}", "vmtrace summary")
            case "handling":
                if (took := sum(life.handling_ns for life in measured.account.vcpus.values())) > limit.most:
                    expected = f"at most {within} to handle exits"
                    yield Unmet(limit.key, expected, f"it took {duration(took)}", "vmtrace summary --sort time")
            case "line":
                found = next((line.t for line in measured.lines if limit.name in line.text), None)
                if found is None or found > limit.most:
                    came = "no line has it" if found is None else f"it came after {duration(found)}"
                    expected = f"a line with {limit.name!r} on the console within {within}"
                    yield Unmet(limit.key, expected, came, "vmtrace timeline --in-order")


class _Measured:
    """What a trace says, computed once if a limit needs it."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    @cached_property
    def devices(self) -> Mapping[str, int]:
        """Exits by device."""
        return {row["device"]: row["exits"] for row in by(totals(self._trace), ["device"]).to_pylist()}

    @cached_property
    def account(self) -> Account:
        """The times of each vCPU."""
        return account(self._trace)

    @cached_property
    def lines(self) -> list[Line]:
        """The lines of the console."""
        return Console(self._trace, self._trace.devices).lines()
