"""The replay of a recording for gdb: it can also go back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from runner.control.gdb.breakpoints import REGISTERS, BreakpointError, Kind, Request
from runner.control.gdb.machinetarget import MachineTarget
from runner.control.gdb.target import SIGINT, Stop
from runner.control.gdb.waiting import waiting
from runner.control.subject import Subject
from runner.machine.machine import Machine
from runner.recording.rings import Rings
from runner.replay.seeking import Seeking, Wanted


class ReplayTarget(MachineTarget):
    """A :class:`runner.control.gdb.machinetarget.MachineTarget` of a machine whose time is ``seeking``."""

    reversible = True

    def __init__(
        self, seeking: Seeking, machine: Machine, monitor: Callable[[str], str], notice: Callable[[str], None]
    ) -> None:
        super().__init__(machine, monitor, notice)
        self._seeking = seeking
        self._sought: list[Request] = []  # what the search looks for, in the order of its numbers
        seeking.attach(machine, partial(self.read, 0))

    def go(self, actions: Mapping[int, bool]) -> Stop | None:
        """As without a recording. At the recording's end nothing goes on."""
        if self._seeking.at_end:
            return Stop(0, history="end")
        self._seeking.goes_on()
        return super().go(actions)

    def back(self, step: bool) -> None:
        """Go back by an instruction, or to the last place where a breakpoint is or watched memory is written. Raises
        KvmError, BreakpointError."""
        self._sought = []
        if step:
            self._seeking.step_back()
        else:
            self._seeking.look_back(self._wanted())
        self._pending.clear()
        self._machine.release(self._threads[0].release)

    def _wanted(self) -> Wanted:
        requests = self.breakpoints.requests
        code = [each for each in requests if each.kind in (Kind.SOFTWARE, Kind.HARDWARE)]
        memory = [each for each in requests if each.kind == Kind.WRITE]
        if len(code) + len(memory) < len(requests):
            raise BreakpointError("a replay that goes back looks for writes, not for reads: use watch")
        if len(code) > REGISTERS:
            raise BreakpointError(f"a replay that goes back has {REGISTERS} breakpoints at most: delete some")
        self._sought = code + memory
        contents = [partial(self.read, 0, each.address, each.size) for each in memory]
        return Wanted([each.address for each in code], contents)

    def leave(self) -> None:
        """Remove all breakpoints, and let the replay go on. Raises KvmError."""
        self._seeking.detach()
        super().leave()

    def stop(self) -> bool:
        """Stop the guest, where it is; False if the run has ended. Raises KvmError."""
        stopped = super().stop()
        if stopped:
            self._seeking.give_up()
        return stopped

    def taken(self) -> Stop | None:
        """The stop to report, also that of a search or of the recording's end."""
        thread = self._threads[0]
        if self._seeking.at_end:
            thread.hold()
            return Stop(0, history="end")
        if self._seeking.lost:
            self._seeking.lost = False
            thread.hold()
            return Stop(0, SIGINT)
        if (found := self._seeking.found) is None:
            return super().taken()
        self._seeking.found = None
        thread.hold()
        if found.met is None:
            return Stop(0, history="begin")
        return Stop(0, met=self._sought[found.met] if self._sought else None)


@contextmanager
def debugged(
    machine: Machine, seeking: Seeking, rings: Rings, where: str | tuple[int, int], notice: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Have the guest wait for gdb at an address, or with these descriptors. Yields what to call once the machine runs.
    Raises ValueError, HostError."""
    subject = Subject(machine.plan.vm.name, machine, rings)
    debugger = waiting(subject, where, notice, partial(ReplayTarget, seeking))
    machine.held = True
    try:
        yield debugger.begin
    finally:
        debugger.close()
