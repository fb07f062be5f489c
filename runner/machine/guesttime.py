"""The guest's clocks in KVM, which stop while a machine is paused."""

from collections.abc import Sequence
from typing import NamedTuple

from runner.kvm.system import System
from runner.kvm.vcpu import VCPU
from runner.kvm.vm import VM
from runner.native import _native

lib = _native.lib


class Clocks(NamedTuple):
    """What the guest's clocks show: kvmclock in ns, and the TSC of each vCPU; None and () if the host's KVM does not
    tell."""

    kvmclock: int | None = None
    tscs: tuple[int, ...] = ()


class GuestTime:
    """kvmclock and the TSC of each vCPU, as far as the host's KVM lets them be set.

    - kvmclock: KVM_GET_CLOCK and KVM_SET_CLOCK (KVM_CAP_ADJUST_CLOCK). KVM_KVMCLOCK_CTRL reports the pause to a guest
      that uses kvmclock, so that its watchdogs do not fire.
    - TSC: the attribute KVM_VCPU_TSC_OFFSET (Linux 5.16, KVM_CAP_VCPU_ATTRIBUTES;
      Documentation/virt/kvm/devices/vcpu.rst, 4). The offsets of all vCPUs are lowered by the same ticks, so the TSCs
      stay synchronised: KVM gives all vCPUs one offset, unless the guest writes its TSC. If the host's own TSC is
      unstable, KVM computes a new offset for a vCPU at each of its ioctls, also at the one that reads it, and lets the
      TSC catch up with the host's clock (x86.c, kvm_arch_vcpu_load). Then the offsets differ, with and without pauses.
      Without the attribute the TSC keeps counting in a pause: KVM treats a write of the MSR that is less than a second
      off as an attempt to synchronise vCPUs, and ignores the value (x86.c, kvm_synchronize_tsc).

    The two clocks are read one right after the other, as vcpu.rst asks, so many pauses do not move them apart.

    Pausing and resuming take microseconds between a vCPU's last instruction and the reading of the clocks; the guest
    sees these pass. KVM's timers (local APIC, PIT) keep running. A timer that expires in a pause interrupts as soon as
    the guest resumes, a periodic one once. KVM's PIT would then catch up on all ticks of the pause (i8254.c, reinject).
    Writing its state back discards these ticks and restarts its period.
    """

    def __init__(self, system: System, vm: VM, vcpus: Sequence[VCPU], *, pit: bool) -> None:
        """``pit``: the VM has KVM's."""
        self._vm = vm
        self._vcpus = vcpus
        self._has_pit = pit
        self._has_clock = system.check_extension("KVM_CAP_ADJUST_CLOCK") != 0
        self._has_offsets = system.check_extension("KVM_CAP_VCPU_ATTRIBUTES") != 0
        self._has_control = system.check_extension("KVM_CAP_KVMCLOCK_CTRL") != 0
        self._tsc = self._clock = 0
        self._offsets: list[int] = []  # of the vCPUs' TSCs at the stop; setting the clocks twice has no further effect

    def stop(self) -> None:
        """Save the time; no vCPU runs. Raises KvmError."""
        self._tsc = lib.tsc_now()
        if self._has_clock:
            self._clock = self._vm.clock()
        self._offsets = [vcpu.tsc_offset() for vcpu in self._vcpus] if self._has_offsets else []

    def show(self) -> Clocks:
        """What the clocks show since :meth:`stop`."""
        tscs = tuple((self._tsc + offset) % (1 << 64) for offset in self._offsets)
        return Clocks(self._clock if self._has_clock else None, tscs)

    def set(self, clocks: Clocks) -> None:
        """Have the clocks of a machine that has not run yet show this from now on, as far as the host's KVM lets them
        be set. Raises KvmError."""
        now = lib.tsc_now()
        if self._has_clock and clocks.kvmclock is not None:
            self._vm.set_clock(clocks.kvmclock)
        for vcpu, tsc in zip(self._vcpus if self._has_offsets else (), clocks.tscs, strict=False):
            vcpu.set_tsc_offset(tsc - now)
        for vcpu in self._vcpus if self._has_control else ():
            vcpu.was_stopped()

    def go_on(self) -> None:
        """Set the clocks to the saved time; no vCPU runs yet. Raises KvmError."""
        behind = lib.tsc_now() - self._tsc
        if self._has_clock:
            self._vm.set_clock(self._clock)
        for vcpu, offset in zip(self._vcpus, self._offsets, strict=False):
            vcpu.set_tsc_offset(offset - behind)
        if self._has_pit:
            self._vm.restart_pit()
        for vcpu in self._vcpus if self._has_control else ():
            vcpu.was_stopped()
