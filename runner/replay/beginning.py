"""The beginning of a replay, to which it can return: registers, and the pages of memory that are not zero."""

from collections.abc import Iterator

from runner.kvm.saved import SavedVcpu, listed, part
from runner.machine.machine import Machine
from runner.memory import GuestMemory
from vmspec.plan.virtual import KERNEL_MSRS

PAGE = 4096
ZERO = bytes(PAGE)


class Beginning:
    """The state of a machine with one vCPU. All methods raise KvmError; the vCPU is not in KVM_RUN, and its last exit
    is complete."""

    def __init__(self, machine: Machine) -> None:
        self._memory = machine.memory
        self._machine = machine
        self._vcpu = SavedVcpu.of(machine.vcpus[0], listed(KERNEL_MSRS))
        self._pages = dict(_pages(machine.memory))

    def restore(self) -> None:
        """Put the machine into that state again."""
        for region in self._memory.regions:
            if region.read_only:
                continue
            with self._memory.view(region.start, region.size) as view:
                for at in range(0, region.size, PAGE):
                    page = self._pages.get(region.start + at, ZERO)
                    if view[at : at + PAGE] != page:
                        view[at : at + PAGE] = page
        self._vcpu.restore(self._machine.vcpus[0])


class Here:
    """The state of a machine now, to recognise it later."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._registers = part(machine.vcpus[0], "REGS")
        self._pages = dict(_pages(machine.memory))

    def is_now(self) -> bool:
        """Whether the machine is in that state."""
        if part(self._machine.vcpus[0], "REGS") != self._registers:
            return False
        return dict(_pages(self._machine.memory)) == self._pages


def _pages(memory: GuestMemory) -> Iterator[tuple[int, bytes]]:
    """The pages that are not zero, by their addresses."""
    for region in memory.regions:
        with memory.view(region.start, region.size, write=False) as view:
            for at in range(0, region.size, PAGE):
                if view[at : at + PAGE] != ZERO:
                    yield region.start + at, bytes(view[at : at + PAGE])
