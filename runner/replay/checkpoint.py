"""Moments of a replay to which it can return: registers, and the pages of memory."""

from collections.abc import Iterator, Mapping

from runner.kvm.saved import SavedVcpu, listed, part
from runner.machine.machine import Machine
from runner.memory import GuestMemory
from runner.replay.comparing import Position
from vmspec.plan.virtual import KERNEL_MSRS

PAGE = 4096
ZERO = bytes(PAGE)


class Checkpoint:
    """A moment of a machine with one vCPU, at a position of its recording. All methods raise KvmError; the vCPU is not
    in KVM_RUN, and its last exit is complete. Pages that are as in an earlier checkpoint are that one's."""

    def __init__(self, machine: Machine, position: Position, earlier: "Checkpoint | None" = None) -> None:
        self.position = position
        self._vcpu = SavedVcpu.of(machine.vcpus[0], listed(KERNEL_MSRS))
        self._window = int(machine.vcpus[0].run.request_interrupt_window)
        shared: Mapping[int, bytes] = {} if earlier is None else earlier._pages
        self._pages: dict[int, bytes] = dict(_pages(machine.memory, shared))

    def restore(self, machine: Machine) -> None:
        """Put the machine into that state again."""
        for region in machine.memory.regions:
            if region.read_only:
                continue
            with machine.memory.view(region.start, region.size) as view:
                for at in range(0, region.size, PAGE):
                    page = self._pages.get(region.start + at, ZERO)
                    if view[at : at + PAGE] != page:
                        view[at : at + PAGE] = page
        self._vcpu.restore(machine.vcpus[0])
        machine.vcpus[0].run.request_interrupt_window = self._window


class Here:
    """The state of a machine now, to recognise it later."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._registers = part(machine.vcpus[0], "REGS")
        self._pages = dict(_pages(machine.memory, {}))

    def is_now(self) -> bool:
        """Whether the machine is in that state."""
        if part(self._machine.vcpus[0], "REGS") != self._registers:
            return False
        return dict(_pages(self._machine.memory, self._pages)) == self._pages


def _pages(memory: GuestMemory, shared: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """The pages that are not zero, by their addresses; the ``shared`` ones, if they are the same."""
    for region in memory.regions:
        with memory.view(region.start, region.size, write=False) as view:
            for at in range(0, region.size, PAGE):
                address, page = region.start + at, view[at : at + PAGE]
                if page != ZERO:
                    known = shared.get(address)
                    yield address, known if known is not None and page == known else bytes(page)
