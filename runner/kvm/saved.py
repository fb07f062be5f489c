"""The state of a virtual machine in KVM, saved and restored: vCPUs and interrupt controllers (api.rst)."""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple, Self

from runner.kvm.errors import KvmError
from runner.kvm.ioctl import call, ffi
from runner.kvm.system import System
from runner.kvm.vcpu import VCPU
from runner.kvm.vm import VM
from vmspec.plan.calls import MsrRange

# By the names of their ioctls without KVM_GET_ and KVM_SET_, with sizes in bytes of linux/kvm.h's and asm/kvm.h's
# structures, in the order in which KVM takes them. It checks registers against the system's. LAPIC follows SREGS, which
# have its base address. MSRs follow LAPIC, whose timer has one. The events come last, as other parts clear or raise
# some.
PARTS = {"SREGS": 312, "REGS": 144, "XCRS": 392, "XSAVE": 4096, "DEBUGREGS": 128, "VCPU_EVENTS": 64}
CONTROLLED = {"MP_STATE": 4, "LAPIC": 1024}  # of vCPUs with interrupt controllers in KVM
FIRST = ("MP_STATE", "SREGS", "REGS", "XCRS", "XSAVE", "DEBUGREGS", "LAPIC")
LAST = ("VCPU_EVENTS",)
MSRS = Struct("<2I")  # struct kvm_msrs: their number, 0; then entries
MSR = Struct("<2IQ")  # index, 0, data
MSRS_MOST = 256  # that KVM takes at once (x86.c, MAX_IO_MSRS)
# MSRs of a guest's state that KVM does not list: MTRRs, and machine checks' banks (Intel SDM volume 3, 12.11 and 16.3).
UNLISTED = (*range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x2FF, *range(0x400, 0x480))
INDEXES = Struct("<I")  # struct kvm_msr_list: their number; then indexes
CHIP = Struct("<2I512x")  # struct kvm_irqchip: the number, 0, the state
CHIPS = 3  # two 8259, the I/O APIC
PIT = 112  # bytes of struct kvm_pit_state2


class Msr(NamedTuple):
    """A model-specific register and its value."""

    number: int
    value: int


class Part(NamedTuple):
    """A part of a vCPU's state, by the name of its ioctls."""

    name: str
    data: bytes


class SavedVcpu(NamedTuple):
    """A vCPU's state when it was saved. All methods raise KvmError; the vCPU's thread is not in KVM_RUN, and its last
    exit is complete."""

    parts: tuple[Part, ...]
    msrs: tuple[Msr, ...]

    @classmethod
    def of(cls, vcpu: VCPU, indexes: Sequence[int], controlled: bool = False) -> Self:
        """The state now, with these MSRs, as far as the host has them. ``controlled``: KVM has interrupt controllers.
        KVM may change a vCPU's state to tell whether it runs, so that is asked first."""
        sizes = PARTS | (CONTROLLED if controlled else {})
        first = [Part(name, part(vcpu, name, sizes[name])) for name in FIRST if name in sizes]
        msrs = tuple(_msrs(vcpu, indexes))
        return cls((*first, *(Part(name, part(vcpu, name, sizes[name])) for name in LAST)), msrs)

    def fits(self, controlled: bool) -> bool:
        """Whether it has every part, of the right size; what is in them, KVM checks."""
        sizes = PARTS | (CONTROLLED if controlled else {})
        whole = {name: len(data) for name, data in self.parts} == sizes and len(self.parts) == len(sizes)
        return whole and all(0 <= number < 1 << 32 and value >= 0 for number, value in self.msrs)

    def restore(self, vcpu: VCPU) -> None:
        """Put a vCPU into that state. MSRs are written that have other values."""
        self._put(vcpu, FIRST)
        now = {msr.number: msr.value for msr in _msrs(vcpu, [msr.number for msr in self.msrs])}
        for msr in self.msrs:
            if now.get(msr.number) != msr.value and not _call_msrs(vcpu, "KVM_SET_MSRS", bytearray(_entries([msr]))):
                raise KvmError(22, f"KVM_SET_MSRS of MSR {msr.number:#x}, {msr.value:#x},")
        self._put(vcpu, LAST)

    def _put(self, vcpu: VCPU, names: Iterable[str]) -> None:
        parts = dict(self.parts)
        for name in names:
            if name in parts:
                call(vcpu.fd, f"KVM_SET_{name}", ffi.from_buffer(parts[name]))


class SavedControllers(NamedTuple):
    """The state of KVM's interrupt controllers, and of its 8254 if it has one. All methods raise KvmError."""

    chips: tuple[bytes, ...]
    pit: bytes | None

    @classmethod
    def of(cls, vm: VM, pit: bool) -> Self:
        """The state now, while no vCPU runs."""
        chips = []
        for number in range(CHIPS):
            chip = bytearray(CHIP.pack(number, 0))
            call(vm.fd, "KVM_GET_IRQCHIP", ffi.from_buffer(chip))
            chips.append(bytes(chip))
        timer = bytearray(PIT) if pit else None
        if timer is not None:
            call(vm.fd, "KVM_GET_PIT2", ffi.from_buffer(timer))
        return cls(tuple(chips), None if timer is None else bytes(timer))

    def fits(self, pit: bool) -> bool:
        """Whether it has all parts, of the right sizes."""
        numbers = [CHIP.unpack(chip)[0] for chip in self.chips if len(chip) == CHIP.size]
        timer = PIT if pit else None
        return numbers == list(range(CHIPS)) == list(range(len(self.chips))) and timer == (
            None if self.pit is None else len(self.pit)
        )

    def restore(self, vm: VM) -> None:
        """Put a machine's controllers into that state. The I/O APIC sends what it has to send once more, so the local
        APICs, which have it already, are restored afterwards."""
        for chip in self.chips:
            call(vm.fd, "KVM_SET_IRQCHIP", ffi.from_buffer(chip))
        if self.pit is not None:
            call(vm.fd, "KVM_SET_PIT2", ffi.from_buffer(self.pit))


def part(vcpu: VCPU, name: str, size: int | None = None) -> bytes:
    """A part of a vCPU's state, as KVM has it."""
    data = bytearray(PARTS[name] if size is None else size)
    call(vcpu.fd, f"KVM_GET_{name}", ffi.from_buffer(data))
    return bytes(data)


def all_msrs(system: System) -> list[int]:
    """The MSRs of a guest's state, as far as this host's KVM knows (KVM_GET_MSR_INDEX_LIST), and :data:`UNLISTED`."""
    room = 1024
    while True:
        request = bytearray(INDEXES.pack(room) + bytes(4 * room))
        try:
            call(system.fd, "KVM_GET_MSR_INDEX_LIST", ffi.from_buffer(request))
            break
        except KvmError:
            if room > 1 << 16:
                raise
            room *= 4
    (count,) = INDEXES.unpack_from(request)
    known = [index for (index,) in INDEXES.iter_unpack(request[4 : 4 + 4 * count])]
    return list(dict.fromkeys((*known, *UNLISTED)))


def listed(ranges: Iterable[MsrRange]) -> list[int]:
    """The MSRs of some ranges."""
    return [index for each in ranges for index in range(each.first, each.last + 1)]


def _msrs(vcpu: VCPU, indexes: Sequence[int]) -> Iterable[Msr]:
    """The values of MSRs. KVM stops at one that the host or the guest's processor lacks; that is left out."""
    while indexes:
        request = bytearray(_entries([Msr(index, 0) for index in indexes[:MSRS_MOST]]))
        count = _call_msrs(vcpu, "KVM_GET_MSRS", request)
        end = MSRS.size + count * MSR.size
        for index, _, value in MSR.iter_unpack(request[MSRS.size : end]):
            yield Msr(index, value)
        indexes = indexes[count if count == MSRS_MOST else count + 1 :]


def _entries(msrs: Sequence[Msr]) -> bytes:
    return MSRS.pack(len(msrs), 0) + b"".join(MSR.pack(number, 0, value) for number, value in msrs)


def _call_msrs(vcpu: VCPU, ioctl: str, request: bytearray) -> int:
    return call(vcpu.fd, ioctl, ffi.from_buffer(request))
