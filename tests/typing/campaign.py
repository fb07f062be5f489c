"""A user's program: it boots a machine with one memory size after another and reports what changed.

test_typing.py checks it as its author would, by mypy --strict against installed packages, and runs it.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

import runner
import tracer
import vmspec
from runner.devices import Bus, Clock, Device, DeviceError, State, bits, number
from tracer import decode
from vmspec.plan import serial


class CounterState(State):
    count: int = bits(0xFF)
    started: int = number(0, 1 << 63)


class Counting(Device):
    """Counts its reads."""

    state_class = CounterState

    def __init__(self, first: int = 0) -> None:
        self.count = first
        self.started = 0

    def start(self) -> None:
        clock: Clock = self.clock
        bus: Bus = self.bus
        self.started = clock.monotonic()
        bus.shadow("port", 1, 0x60)

    def read(self, region: str, offset: int, size: int) -> int:
        self.count = self.count + 1 & 0xFF
        return self.count

    def saved(self) -> int:
        state = self.save()
        assert isinstance(state, CounterState)
        return state.count


def machines(path: Path, sizes: list[int]) -> Iterator[tuple[vmspec.Spec, vmspec.Plan]]:
    """The spec with each size of memory in bytes, and its plan as it comes back from a file."""
    spec = vmspec.load(path)
    for size in sizes:
        document = vmspec.Document(vmspec.dumps(spec), path.parent, [f"vm.memory={size}"], file=path)
        plan: vmspec.Plan = serial.loads(serial.dumps(document.plan()))
        yield attrs.evolve(spec, vm=attrs.evolve(spec.vm, memory=size)), plan


def reasons(trace: tracer.Trace) -> dict[str, int]:
    """Exits by reason."""
    found: Counter[str] = Counter()
    for batch in trace.batches(["reason"]):
        found.update(batch["reason"].to_pylist())
    return dict(found)


def told(result: runner.Result) -> str:
    """A line on a run."""
    match result.kind:
        case "halt" | "poweroff" | "reset":
            verdict = "ended"
        case "timeout":
            verdict = "hung"
        case _:
            verdict = f"failed: {result.detail}"
    text = f"{verdict}, status {result.status}, {result.console.decode(errors='replace').strip()}"
    if result.trace is not None:
        trace = tracer.load(result.trace)
        inputs: tracer.TableFile | None = trace.tables.get("inputs")
        text += f", {reasons(trace)}, {trace.devices}, {inputs if inputs is None else inputs.lost}"
    return text


def main(path: Path) -> int:
    try:
        for spec, plan in machines(path, [1 << 20, 2 << 20]):
            result = runner.run(plan, notice=print)
            print(f"{spec.vm.memory >> 20} MiB: {told(result)}")
        with runner.start(path, overrides="vm.memory=4MiB", record=False) as run:
            print(f"4 MiB: {told(run.result(timeout=60.0))}")
    except vmspec.SpecError as error:
        for problem in error.problems:
            print(problem.file, problem.line, problem.path, problem.nearest or problem.allowed)
        return 2
    except (runner.HostError, runner.KvmError, DeviceError, tracer.TraceError) as error:
        print(error)
        return 3
    name, meaning = decode.Decoder().decode("io", 0x3FD, 1, "read", 0x60)
    print(name, meaning, decode.named("mmio", 0xD0000000), decode.msr_name(0x10))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
