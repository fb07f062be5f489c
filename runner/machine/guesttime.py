"""The guest's clocks that KVM keeps, which stand still while a machine is paused."""

from collections.abc import Sequence

from runner.kvm.system import System
from runner.kvm.vcpu import VCPU
from runner.kvm.vm import VM
from runner.native import _native

lib = _native.lib


class GuestTime:
    """kvmclock and the TSC of each vCPU, as far as the host's KVM lets them be set.

    - kvmclock: KVM_GET_CLOCK and KVM_SET_CLOCK (KVM_CAP_ADJUST_CLOCK). KVM_KVMCLOCK_CTRL tells a guest that uses it
      that it was stopped, so that its watchdogs are patient.
    - TSC: the attribute KVM_VCPU_TSC_OFFSET (Linux 5.16, KVM_CAP_VCPU_ATTRIBUTES;
      Documentation/virt/kvm/devices/vcpu.rst, 4). It moves back by the same ticks for all vCPUs, which stay as
      synchronous as they were. Without it the TSC goes on in a pause: KVM takes a write of the MSR that is less than a
      second off for an attempt to synchronise vCPUs, and undoes it (x86.c, kvm_synchronize_tsc).

    The guest sees the microseconds go by that a pause and its end take themselves, between a vCPU's last instruction
    and the reading of the clocks. The timers in the kernel (local APIC, PIT) go on: one that comes due in a pause
    interrupts as soon as the guest goes on, a periodic one once. KVM's PIT would then catch up on all ticks of the
    pause (i8254.c, reinject); writing its state back makes it forget them, and begins its period anew.
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
        self._offsets: list[int] = []  # of the vCPUs' TSCs at the stop: setting the clocks again changes nothing

    def stop(self) -> None:
        """Note the time; no vCPU runs. Raises KvmError."""
        self._tsc = lib.tsc_now()
        self._offsets = [vcpu.tsc_offset() for vcpu in self._vcpus] if self._has_offsets else []
        if self._has_clock:
            self._clock = self._vm.clock()

    def go_on(self) -> None:
        """Set the clocks to the time that was noted; no vCPU runs yet. Raises KvmError."""
        behind = lib.tsc_now() - self._tsc
        for vcpu, offset in zip(self._vcpus, self._offsets, strict=False):
            vcpu.set_tsc_offset(offset - behind)
        if self._has_clock:
            self._vm.set_clock(self._clock)
        if self._has_pit:
            self._vm.restart_pit()
        for vcpu in self._vcpus if self._has_control else ():
            vcpu.was_stopped()
