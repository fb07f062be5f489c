"""A vCPU file descriptor: registers, CPUID, local APIC, the kvm_run mapping (api.rst, vcpu ioctls)."""

import errno
import mmap
import os
from struct import Struct
from typing import NamedTuple, assert_never

from runner.kvm.errors import KvmError
from runner.kvm.ioctl import call, ffi, lib
from runner.kvm.stats import Stats
from runner.native import _native
from runner.x86.cpuid import CpuidEntry
from runner.x86.state import Segment, State, Table
from vmspec.plan.calls import SetLapic, VcpuCall
from vmspec.registers import lapic

REGISTERS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
)  # fmt: skip
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")

# linux/kvm.h: struct kvm_device_attr. asm/kvm.h: KVM_VCPU_TSC_CTRL and KVM_VCPU_TSC_OFFSET are both 0.
ATTRIBUTE = Struct("<2I2Q")  # flags, group, attr, addr


class Registers(NamedTuple):
    """A vCPU's registers, for a crash report."""

    general: dict[str, int]
    state: State
    cr2: int


def as_registers(regs: "_native.KvmRegsFields", sregs: "_native.KvmSregsFields") -> Registers:
    """The contents of ``struct kvm_regs`` and ``struct kvm_sregs``."""
    general = {name: int(getattr(regs, name)) for name in REGISTERS}
    segments = {}
    for name in SEGMENTS:
        s = getattr(sregs, name)
        segments[name] = Segment(
            selector=s.selector, base=s.base, limit=s.limit, type=s.type, present=bool(s.present), dpl=s.dpl,
            db=bool(s.db), s=bool(s.s), long=bool(s.l), granularity=bool(s.g), available=bool(s.avl),
            unusable=bool(s.unusable),
        )  # fmt: skip
    state = State(
        registers=general,
        segments=segments,
        gdt=Table(sregs.gdt.base, sregs.gdt.limit),
        idt=Table(sregs.idt.base, sregs.idt.limit),
        cr0=sregs.cr0,
        cr3=sregs.cr3,
        cr4=sregs.cr4,
        efer=sregs.efer,
    )
    return Registers(general, state, sregs.cr2)


class VCPU:
    """The vCPU file descriptor and its kvm_run page."""

    def __init__(self, fd: int, mmap_size: int) -> None:
        self.fd = fd
        try:
            self._mapping = mmap.mmap(fd, mmap_size, mmap.MAP_SHARED)
        except BaseException:
            os.close(fd)
            raise
        self._buffer = ffi.from_buffer(self._mapping)
        self.run = ffi.cast("struct kvm_run *", self._buffer)

    def set_cpuid2(self, entries: list[CpuidEntry]) -> None:
        """KVM_SET_CPUID2."""
        cpuid = ffi.new("struct kvm_cpuid2 *", {"entries": len(entries)})
        cpuid.nent = len(entries)
        for to, entry in zip(cpuid.entries[0 : len(entries)], entries, strict=True):
            to.function, to.index, to.flags = entry.function, entry.subleaf, entry.flags
            to.eax, to.ebx, to.ecx, to.edx = entry.eax, entry.ebx, entry.ecx, entry.edx
        call(self.fd, "KVM_SET_CPUID2", cpuid)

    def execute(self, made: VcpuCall) -> None:
        """Make a call of the plan. Raises KvmError."""
        match made:
            case SetLapic():
                self._set_virtual_wire()
            case _:
                assert_never(made)

    def _set_virtual_wire(self) -> None:
        """KVM_SET_LAPIC: LINT0 takes the PIC's interrupts, LINT1 is NMI, as firmware leaves them (MP spec 3.6.2.2)."""
        state = ffi.new("struct kvm_lapic_state *")
        call(self.fd, "KVM_GET_LAPIC", state)
        registers = ffi.buffer(state.regs)
        for at, mode in ((lapic.LVT_LINT0, lapic.MODE_EXTINT), (lapic.LVT_LINT1, lapic.MODE_NMI)):
            old = int.from_bytes(registers[at : at + 4], "little")
            registers[at : at + 4] = (old & ~(lapic.MODE | lapic.MASKED) | mode).to_bytes(4, "little")
        call(self.fd, "KVM_SET_LAPIC", state)

    def interrupt(self, vector: int) -> None:
        """KVM_INTERRUPT: the vCPU takes it at its next entry. For a machine without KVM's interrupt controllers."""
        call(self.fd, "KVM_INTERRUPT", ffi.from_buffer(vector.to_bytes(4, "little")))

    def load_tsc(self, tsc: int) -> None:
        """Load EDX:EAX with the TSC, as RDTSC does: KVM_GET_REGS, then KVM_SET_REGS. Raises KvmError."""
        if not lib.virtual_load_tsc(tsc, self.fd):
            raise KvmError(ffi.errno, "KVM_SET_REGS")

    def set_sregs(self, state: State) -> None:
        """KVM_GET_SREGS, then KVM_SET_SREGS with the state's segments, tables and control registers."""
        sregs = ffi.new("struct kvm_sregs *")
        call(self.fd, "KVM_GET_SREGS", sregs)
        for name, segment in state.segments.items():
            to = getattr(sregs, name)
            to.selector, to.base, to.limit, to.type = segment.selector, segment.base, segment.limit, segment.type
            to.present, to.dpl, to.db, to.s = segment.present, segment.dpl, segment.db, segment.s
            to.l, to.g, to.avl, to.unusable = segment.long, segment.granularity, segment.available, segment.unusable
        sregs.gdt.base, sregs.gdt.limit = state.gdt.base, state.gdt.limit
        sregs.idt.base, sregs.idt.limit = state.idt.base, state.idt.limit
        sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = state.cr0, state.cr3, state.cr4, state.efer
        call(self.fd, "KVM_SET_SREGS", sregs)

    def set_regs(self, registers: dict[str, int]) -> None:
        """KVM_SET_REGS; registers that are not named are 0, rflags is 2 (its fixed bit)."""
        regs = ffi.new("struct kvm_regs *", {"rflags": 2})
        for name, value in registers.items():
            setattr(regs, name, value)
        call(self.fd, "KVM_SET_REGS", regs)

    def registers(self) -> Registers:
        """KVM_GET_REGS and KVM_GET_SREGS."""
        regs = ffi.new("struct kvm_regs *")
        sregs = ffi.new("struct kvm_sregs *")
        call(self.fd, "KVM_GET_REGS", regs)
        call(self.fd, "KVM_GET_SREGS", sregs)
        return as_registers(regs, sregs)

    def task_priority(self) -> int:
        """CR8, by KVM_GET_SREGS. Without an interrupt controller in KVM, it takes that from kvm_run at each entry."""
        sregs = ffi.new("struct kvm_sregs *")
        call(self.fd, "KVM_GET_SREGS", sregs)
        return int(sregs.cr8)

    def translate(self, address: int) -> int | None:
        """KVM_TRANSLATE: the guest-physical address of a linear one, None if it is not mapped."""
        translation = ffi.new("struct kvm_translation *", {"linear_address": address})
        call(self.fd, "KVM_TRANSLATE", translation)
        return int(translation.physical_address) if translation.valid else None

    def mp_state(self) -> int:
        """KVM_GET_MP_STATE: KVM_MP_STATE_*, whether it runs, has halted or was never started."""
        state = ffi.new("struct kvm_mp_state *")
        call(self.fd, "KVM_GET_MP_STATE", state)
        return int(state.mp_state)

    def nmi(self) -> None:
        """KVM_NMI: a non-maskable interrupt. Its thread must not be in KVM_RUN, or the call waits for it."""
        call(self.fd, "KVM_NMI")

    def guest_tsc_khz(self) -> int:
        """KVM_GET_TSC_KHZ: the guest's TSC rate. It is the host's, because vmrun sets no other."""
        return call(self.fd, "KVM_GET_TSC_KHZ")

    def tsc_offset(self) -> int:
        """KVM_VCPU_TSC_OFFSET: what KVM adds to the host's TSC, modulo 2**64 (devices/vcpu.rst, 4)."""
        offset = ffi.new("uint64_t *")
        self._attribute("KVM_GET_DEVICE_ATTR", offset)
        return int(offset[0])

    def set_tsc_offset(self, offset: int) -> None:
        """The same, for what the guest reads from now on."""
        self._attribute("KVM_SET_DEVICE_ATTR", ffi.new("uint64_t *", offset % (1 << 64)))

    def _attribute(self, ioctl: str, value: "_native.Pointer[_native.Uint64]") -> None:
        address = int(ffi.cast("uintptr_t", value))
        call(self.fd, ioctl, ffi.from_buffer(ATTRIBUTE.pack(0, 0, 0, address)))

    def was_stopped(self) -> None:
        """KVM_KVMCLOCK_CTRL: tell the guest that it did not run for a time, if it uses kvmclock."""
        try:
            call(self.fd, "KVM_KVMCLOCK_CTRL")
        except KvmError as error:
            if error.errno != errno.EINVAL:  # it does not
                raise

    def sync_registers(self) -> None:
        """Ask KVM to put the general registers into kvm_run at every exit (KVM_CAP_SYNC_REGS). The loop asks for the
        system registers now and then, first at the first exit. Hosts that have one have the other."""
        self.run.kvm_valid_regs = lib.KVM_SYNC_X86_REGS | lib.KVM_SYNC_X86_SREGS

    def stats(self) -> Stats:
        """KVM_GET_STATS_FD of the vCPU."""
        return Stats(call(self.fd, "KVM_GET_STATS_FD"))

    def close(self) -> None:
        """Unmap kvm_run and close the descriptor."""
        del self.run
        ffi.release(self._buffer)
        self._mapping.close()
        os.close(self.fd)
