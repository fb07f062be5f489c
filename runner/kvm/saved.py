"""The whole state of a vCPU without KVM's interrupt controllers, saved and restored (api.rst, vcpu ioctls)."""

from struct import Struct

from runner.kvm.ioctl import call, ffi
from runner.kvm.vcpu import VCPU
from vmspec.plan.calls import MsrRange

# By the names of their ioctls without KVM_GET_ and KVM_SET_, with sizes in bytes of linux/kvm.h's and asm/kvm.h's
# structures. The system registers come first: KVM checks others against them. The events come last, as the registers
# of a debugger may raise some.
PARTS = {"SREGS": 312, "REGS": 144, "XCRS": 392, "XSAVE": 4096, "DEBUGREGS": 128, "VCPU_EVENTS": 64}
MSR = Struct("<2I2IQ")  # struct kvm_msrs with one entry: their number, 0; index, 0, data


class SavedVcpu:
    """A vCPU's state at the time when this was made; its thread is not in KVM_RUN, and its last exit is complete.
    ``msrs`` are those that KVM itself has. All methods raise KvmError."""

    def __init__(self, vcpu: VCPU, msrs: tuple[MsrRange, ...]) -> None:
        self._vcpu = vcpu
        self._indexes = [index for each in msrs for index in range(each.first, each.last + 1)]
        self._parts = {name: part(vcpu, name) for name in PARTS}
        self._msrs = [self._msr(index) for index in self._indexes]

    def restore(self) -> None:
        """Put the vCPU into that state again."""
        for name, data in self._parts.items():
            call(self._vcpu.fd, f"KVM_SET_{name}", ffi.from_buffer(data))
        for index, value in zip(self._indexes, self._msrs, strict=True):
            if self._msr(index) != value:
                call(self._vcpu.fd, "KVM_SET_MSRS", ffi.from_buffer(bytearray(MSR.pack(1, 0, index, 0, value))))

    def _msr(self, index: int) -> int:
        """The value of an MSR; 0 if the host has none."""
        request = bytearray(MSR.pack(1, 0, index, 0, 0))
        call(self._vcpu.fd, "KVM_GET_MSRS", ffi.from_buffer(request))
        return int(MSR.unpack(request)[4])


def part(vcpu: VCPU, name: str) -> bytearray:
    """A part of a vCPU's state, as KVM has it."""
    data = bytearray(PARTS[name])
    call(vcpu.fd, f"KVM_GET_{name}", ffi.from_buffer(data))
    return data
