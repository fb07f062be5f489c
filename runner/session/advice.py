"""What the guest was doing when its time was over, for people."""

from collections.abc import Callable, Iterator

from runner.kvm.errors import KvmError
from runner.machine.machine import Machine
from runner.recording.rings import Rings
from runner.session.crash import exit_lines
from runner.x86.mode import mode
from vmspec.host.printable import printable

VCPUS = 8  # that are described
LINE = 200  # characters of the console's last line

SPUN = (
    "with virtual time a guest must not wait for a clock or an interrupt in a loop without exits: change what it waits "
    "for, or give vm.spin if it only computes for long"
)

# Of struct kvm_mp_state (Linux, Documentation/virt/kvm/api.rst, 4.38).
RUNNABLE, UNINITIALIZED, HALTED = 0, 1, 3


def after_timeout(machine: Machine, rings: Rings, console: bytes, symbol: Callable[[int], str | None]) -> Iterator[str]:
    """Sentences: the console's last line, and what each vCPU was doing. ``symbol`` names the guest's code. No vCPU
    runs any more."""
    if last := last_line(console):
        yield f"the console's last line: {last}"
    else:
        yield "the guest printed nothing"
    for index in range(min(VCPUS, len(machine.vcpus))):
        yield f"vCPU {index} {_doing(machine, index, symbol)}"
        if newest := list(exit_lines(machine, rings, index)):
            yield f"vCPU {index}'s last exit: {newest[-1]}"
    if (more := len(machine.vcpus) - VCPUS) > 0:
        yield f"{more} more vCPUs are not shown"


def last_line(console: bytes) -> str:
    """The last line that has something printable, cut if it is long; "" if there is none."""
    for line in reversed(console[-64 * LINE :].decode("utf-8", "replace").splitlines()):
        if text := line.strip():
            return printable(text[:LINE]) + ("…" if len(text) > LINE else "")
    return ""


def _doing(machine: Machine, index: int, symbol: Callable[[int], str | None]) -> str:
    vcpu = machine.vcpus[index]
    try:
        state = vcpu.mp_state() if machine.plan.irqchip else RUNNABLE
        registers = vcpu.registers()
    except KvmError as error:
        return f"cannot be read: {error}"
    if state == UNINITIALIZED:
        return "was never started by the guest"
    rip = registers.general["rip"]
    where = f"{rip:#x}"
    if name := symbol(rip):
        where += f" ({name})"
    what = "was halted, and no interrupt came" if state == HALTED else "was running"
    return f"{what}, at RIP {where}, {mode(registers.state)}"
