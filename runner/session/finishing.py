"""The end of a run: closing its trace, and making its result."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runner.expect.console import Expected
from runner.expect.unmet import Unmet, located
from runner.machine.machine import Machine
from runner.machine.result import Ending, Result, status
from runner.session.backends import Backends
from runner.session.console import Console, console_ending
from runner.session.recording import Recording
from tracer.format.errors import TraceError
from vmspec.plan.plan import Plan
from vmspec.trace.ends import CRASHES, ENDS
from vmspec.trace.files import crash_path
from vmspec.trace.record import REASONS


class Finish(NamedTuple):
    """What a result is made of, once the guest runs no more: ``ports`` by name, ``reported`` problems of devices,
    ``symbol`` for the names of the guest's code."""

    plan: Plan
    machine: Machine
    recording: Recording
    backends: Backends
    console: Console
    ports: Mapping[str, Console]
    expected: Expected
    reported: Sequence[str]
    symbol: Callable[[int], str | None]

    def result(self, ending: Ending, stats: dict[str, Any]) -> Result:
        """Complete the trace and return the result of a run that has ended so. ``stats`` are KVM's counters at the
        start and at the end."""
        ending, notes = self._ending(ending)
        report, report_path = self._report(ending, notes)
        self._advise(ending, notes)
        from runner.expect import ended  # late: at the end

        console, cases = self.expected.end(self.console.text())
        expect, counters = self.plan.expect, self._counters()
        ports = {name: port.text() for name, port in self.ports.items()}
        failures = (*console, *ended.unmet(expect, ending.kind, ending.status, ports, counters))
        summary = {
            "result": {"kind": ending.kind, "status": status(expect, ending, failures)},
            "stats": stats,
            "duration_ns": self.machine.duration,
            "clocks": self.recording.rings.clocks(),
        }
        if frames := self.backends.frames():
            summary["frames"] = frames
        try:
            self.recording.finish(summary)
        except TraceError as error:
            ending = Ending("trace-failed", detail=str(error))
        else:
            failures += tuple(self._unmet_in_trace())
        return Result(
            kind=ending.kind,
            status=status(expect, ending, failures),
            detail=ending.detail,
            console=self.console.text(),
            trace=self.recording.trace,
            counters=counters,
            seconds=self.machine.duration / 1e9,
            unmet=tuple(located(failure, self.recording.trace) for failure in failures),
            report=report,
            report_path=report_path,
            notes=(*notes, *self.recording.notes),
            cases=cases,
            ports=ports,
        )

    def _ending(self, ending: Ending) -> tuple[Ending, list[str]]:
        """How the run has ended, and the other failures of devices: what failed beside the guest counts more than an
        end that is none of a crash."""
        if self.machine.failures and ending.kind in ENDS and ending.kind not in CRASHES:
            # The guest may have ended well and its disk not: a device's last error counts no less.
            ending = self.machine.failures.pop(0)
        notes = [*dict.fromkeys(failure.detail for failure in self.machine.failures)]
        if self.console.failure is not None and ending.kind in ENDS and ending.kind not in CRASHES:
            ending = console_ending(self.console.failure)  # writing what was still queued failed
        if (failure := self.backends.failure()) is not None and ending.kind in ENDS and ending.kind not in CRASHES:
            ending = failure
        return ending, notes

    def _unmet_in_trace(self) -> Iterator[Unmet]:
        """The expectations that the finished trace shows to be unmet."""
        trace = self.recording.trace
        if self.plan.expect.of_trace() and trace is not None:
            from runner.expect.recorded import checking  # late: it imports what reads traces

            yield from checking.unmet(self.plan.expect, trace, self.reported)

    def _advise(self, ending: Ending, notes: list[str]) -> None:
        """Note what the guest was doing if its time was over."""
        if ending.kind in ("timeout", "spun") and ending.kind not in self.plan.expect.exit:
            from runner.session.advice import SPUN, after_timeout  # late: few runs end so

            notes += after_timeout(self.machine, self.recording.rings, self.console.text(), self.symbol)
            notes += [SPUN] if ending.kind == "spun" else []

    def _report(self, ending: Ending, notes: list[str]) -> tuple[str, Path | None]:
        """The crash report and its path, if the guest crashed."""
        if ending.kind not in CRASHES or ending.kind in self.plan.expect.exit or self.machine.last is None:
            return "", None
        from runner.session import crash

        try:
            report = crash.report(self.machine, self.machine.last, self.recording.rings, ending.detail)
        except Exception as error:  # the guest's last state may break the report; the trace is finished all the same
            notes.append(f"no crash report could be made: {error!r}")
            return "", None
        if self.plan.trace.path is None:
            return report, None
        try:
            return report, crash.save(report, self.recording.place(crash_path(self.plan.trace.path)))
        except OSError as error:
            notes.append(f"the crash report could not be saved: {error}")
            return report, None

    def _counters(self) -> dict[str, int]:
        totals = [sum(column) for column in zip(*self.machine.counts(), strict=True)]
        counters = {REASONS[n] if n < len(REASONS) else f"exit_{n}": count for n, count in enumerate(totals) if count}
        counters["dropped"] = sum(self.recording.rings.counters("dropped"))
        return counters
