"""What a snapshot has beside the guest's memory."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from runner.kvm.errors import HostError
from runner.kvm.saved import SavedControllers, SavedVcpu
from runner.machine.guesttime import Clocks
from runner.machine.machine import Machine
from runner.machine.virtual import SavedTime
from runner.x86.cpuid import CpuidEntry
from vmspec.plan.plan import Plan

SHOWN = 3  # differences of processors in a message
RATE = 1000  # of so many parts, the TSC rates of two hosts may differ by one


class Extent(NamedTuple):
    """A part of something and its place in the file: ``address`` is a guest-physical one, or an offset in a disk.
    ``crc32`` is that of its bytes."""

    address: int
    size: int
    offset: int
    crc32: int


class Written(NamedTuple):
    """What the guest has written to a disk or to flash memory that keeps it for itself, by the device's name."""

    device: str
    extents: tuple[Extent, ...]


class File(NamedTuple):
    """The image of a disk or of flash memory, as it was: the key that names it, its size, and when it was written last,
    in ns."""

    where: str
    size: int
    written: int


class Base(NamedTuple):
    """Another snapshot of the machine, which has what this one lacks: where it was, as text, and the CRC-32 of its
    contents."""

    path: str
    crc32: int


class Contents(NamedTuple):
    """The machine: what it is, and its state. ``time`` is that of a machine with virtual time. ``devices`` are the
    devices' states by their names, as :mod:`runner.snapshot.states` writes them. With a ``base``, ``memory`` and
    ``written`` are what differs from it."""

    version: str
    plan: Plan
    processor: tuple[CpuidEntry, ...]
    tsc_khz: int
    vcpus: tuple[SavedVcpu, ...]
    controllers: SavedControllers | None
    clocks: Clocks
    time: SavedTime | None
    devices: Mapping[str, Any]
    files: tuple[File, ...]
    memory: tuple[Extent, ...]
    written: tuple[Written, ...]
    base: Base | None = None

    def problem(self) -> str | None:
        """What makes it no snapshot of a machine; None: nothing."""
        plan = self.plan
        if len(self.vcpus) != plan.vm.vcpus or not all(vcpu.fits(plan.irqchip) for vcpu in self.vcpus):
            return "the state of its vCPUs is not that of its plan"
        if (self.controllers is not None) != plan.irqchip or (
            self.controllers is not None and not self.controllers.fits(plan.pit)
        ):
            return "the state of its interrupt controllers is not that of its plan"
        if (self.time is not None) != (plan.time.kind == "virtual"):
            return "its time is not that of its plan"
        if min((self.tsc_khz, self.clocks.kvmclock or 0, *self.clocks.tscs, *(self.time or ()))) < 0:
            return "it has a time before any other"
        return None

    def check_host(self, machine: Machine) -> None:
        """Whether a machine on this host has the processor of the snapshot. Raises HostError."""
        theirs, ours = set(self.processor), set(machine.processor)
        if theirs != ours:
            leaves = sorted({f"{each.function:#x}" for each in theirs ^ ours})
            shown = ", ".join(leaves[:SHOWN]) + f" and {len(leaves) - SHOWN} more" * (len(leaves) > SHOWN)
            raise HostError(
                f"the snapshot is of another processor: CPUID differs in {shown}; restore it on a host like its own, "
                "or take it of a machine with a cpu.model that both hosts have"
            )
        if self.time is None and abs(machine.host_tsc_khz() - self.tsc_khz) * RATE > self.tsc_khz:
            raise HostError(
                f"the snapshot's TSC counts {self.tsc_khz:,} kHz, this host's {machine.host_tsc_khz():,} kHz: restore "
                "it on a host like its own"
            )
