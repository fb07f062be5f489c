"""Replaying a recording on KVM: the machine without its devices."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from runner import signals
from runner.devices.device import Device
from runner.machine.loading import Loader
from runner.machine.machine import Machine
from runner.recording.rings import Rings
from runner.replay.comparing import Comparison, Mismatch
from runner.replay.recording import Recording
from runner.verification.state import named
from vmspec.plan.plan import Plan
from vmspec.plan.settings import PlannedTime, PlannedTrace


class Replayed(NamedTuple):
    """The result of a replay: exits that were as recorded, of how many that the recording has; where it differed, and
    the registers there, or at the end. ``ended`` is the host's reason if it came to no end of its own."""

    exits: int
    recorded: int
    mismatch: Mismatch | None
    registers: dict[str, int]
    ended: str = ""


def replay(
    recording: Recording,
    plan: Plan,
    until: int | None,
    asked: Callable[[], bool],
    gdb: str | tuple[int, int] | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Replayed:
    """Replay a recording with the plan of its run, up to an exit or to its end. ``asked`` returns whether the end was
    requested. With ``gdb``, the guest waits for a debugger there, and stops for it at the end. Raises HostError,
    KvmError, ValueError for an address that is none, and what loading the guest's memory raises."""
    # The devices' answers are in the recording. Their time and their interrupts are, too. What is loaded names them: in
    # ACPI tables, and the seed of the time.
    alone = plan._replace(devices=(), time=PlannedTime(), trace=PlannedTrace())
    with ExitStack() as stack:
        loader = Loader(plan)
        stack.callback(loader.close)
        machine = Machine(alone, loader)
        stack.callback(machine.close)
        counter = plan.device("tsc")
        tsc = counter.name if counter else None
        machine.attach(lambda planned: Device(), lambda device, port: lambda text: None)  # there are none
        rings = Rings(1, 64, "wait", None)
        stack.callback(rings.close)
        timeout, started = plan.vm.timeout / 1e9 if plan.vm.timeout else math.inf, lambda: None
        if gdb is None:
            machine.time = comparison = Comparison(recording, loader.memory, until, tsc)
        else:
            from runner.replay.debugged import debugged  # late: few replays are
            from runner.replay.seeking import Seeking

            machine.time = comparison = seeking = Seeking(recording, loader.memory, until, tsc)
            started = stack.enter_context(debugged(machine, seeking, rings, gdb, notice))
            timeout = math.inf
        with signals.telling(machine.loop.event):
            ending = machine.run(rings, started, timeout, lambda threads: None, asked)
        own = comparison.finished or comparison.mismatch is not None
        return Replayed(
            comparison.done,
            len(recording.exits),
            comparison.mismatch,
            named(machine.vcpus[0].registers()),
            "" if own else f"{ending.kind}: {ending.detail}".rstrip(": "),
        )
