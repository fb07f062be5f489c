"""All registers of a vCPU, to read and to change. Its thread must not be in KVM_RUN."""

from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING, Literal, NamedTuple

from runner.kvm.ioctl import call, ffi
from runner.kvm.vcpu import VCPU

if TYPE_CHECKING:
    from runner.native import _native

# linux/kvm.h: struct kvm_msrs with one entry. asm/kvm.h: struct kvm_xsave, whose first 512 bytes are FXSAVE's image.
MSRS = Struct("<2I2IQ")
XSAVE = 4096
ABRIDGED, STACK = 4, 32  # in FXSAVE's image: the tags, a bit each; ST0 to ST7, 16 bytes each
VALID, ZERO, SPECIAL, EMPTY = range(4)  # tags
STATES = 512  # where XSTATE_BV is (Intel SDM volume 1, 13.4.2)
X87, SSE = 1 << 0, 1 << 1

Part = Literal["general", "system", "selector", "base", "limit", "table", "msr", "fxsave", "tags"]


class Place(NamedTuple):
    """Where a register is: a field of ``struct kvm_regs`` (general) or ``struct kvm_sregs`` (system), a segment's
    selector, base or limit, a descriptor table's ``name`` and ``at`` (base, limit), an MSR's number, or bytes of
    FXSAVE's image (Intel SDM volume 1, 10.5.1). "tags" is the x87 tag word, of which that image has only one bit each.
    """

    part: Part
    name: str = ""
    at: int = 0
    size: int = 8


class RegisterFile:
    """The registers; what was changed, :meth:`store` writes. All methods raise KvmError."""

    def __init__(self, vcpu: VCPU) -> None:
        self._vcpu = vcpu
        self._changed: set[str] = set()

    @cached_property
    def _general(self) -> "_native.KvmRegsPointer":
        regs = ffi.new("struct kvm_regs *")
        call(self._vcpu.fd, "KVM_GET_REGS", regs)
        return regs

    @cached_property
    def _system(self) -> "_native.KvmSregsPointer":
        sregs = ffi.new("struct kvm_sregs *")
        call(self._vcpu.fd, "KVM_GET_SREGS", sregs)
        return sregs

    @cached_property
    def _xsave(self) -> bytearray:
        state = bytearray(XSAVE)
        call(self._vcpu.fd, "KVM_GET_XSAVE", ffi.from_buffer(state))
        return state

    def get(self, place: Place) -> int:
        """The value of a register; an MSR that the processor lacks is 0."""
        match place.part:
            case "general":
                return int(getattr(self._general, place.name))
            case "system":
                return int(getattr(self._system, place.name))
            case "selector" | "base" | "limit":
                return int(getattr(getattr(self._system, place.name), place.part))
            case "table":
                return int(getattr(getattr(self._system, place.name), "limit" if place.at else "base"))
            case "msr":
                request = bytearray(MSRS.pack(1, 0, place.at, 0, 0))
                call(self._vcpu.fd, "KVM_GET_MSRS", ffi.from_buffer(request))
                return int(MSRS.unpack(request)[4])
            case "fxsave":
                return int.from_bytes(self._xsave[place.at : place.at + place.size], "little")
            case "tags":
                return self._tags()

    def set(self, place: Place, value: int) -> None:
        """Change a register; bits that it does not have are dropped."""
        match place.part:
            case "general":
                setattr(self._general, place.name, value)
                self._changed.add("general")
            case "system":
                setattr(self._system, place.name, value)
                self._changed.add("system")
            case "selector":
                getattr(self._system, place.name).selector = value & 0xFFFF
                self._changed.add("system")
            case "base":
                getattr(self._system, place.name).base = value
                self._changed.add("system")
            case "limit":
                getattr(self._system, place.name).limit = value & 0xFFFFFFFF
                self._changed.add("system")
            case "table":
                table = getattr(self._system, place.name)
                if place.at:
                    table.limit = value & 0xFFFF
                else:
                    table.base = value
                self._changed.add("system")
            case "msr":
                call(self._vcpu.fd, "KVM_SET_MSRS", ffi.from_buffer(MSRS.pack(1, 0, place.at, 0, value)))
            case "fxsave":
                kept = value & (1 << 8 * place.size) - 1
                self._xsave[place.at : place.at + place.size] = kept.to_bytes(place.size, "little")
                self._changed.add("xsave")
            case "tags":
                self._xsave[ABRIDGED] = sum(1 << n for n in range(8) if value >> 2 * n & 3 != EMPTY)
                self._changed.add("xsave")

    def _tags(self) -> int:
        """The tag word (Intel SDM volume 1, 8.1.7), from the contents of the registers."""
        top = int.from_bytes(self._xsave[2:4], "little") >> 11 & 7
        tags = 0
        for register in range(8):
            at = STACK + 16 * ((register - top) % 8)
            value = int.from_bytes(self._xsave[at : at + 10], "little")
            tags |= (_tag(value) if self._xsave[ABRIDGED] >> register & 1 else EMPTY) << 2 * register
        return tags

    def store(self) -> None:
        """Write what was changed."""
        if "system" in self._changed:
            call(self._vcpu.fd, "KVM_SET_SREGS", self._system)
        if "general" in self._changed:
            call(self._vcpu.fd, "KVM_SET_REGS", self._general)
        if "xsave" in self._changed:
            states = int.from_bytes(self._xsave[STATES : STATES + 8], "little") | X87 | SSE
            self._xsave[STATES : STATES + 8] = states.to_bytes(8, "little")
            call(self._vcpu.fd, "KVM_SET_XSAVE", ffi.from_buffer(self._xsave))
        self._changed.clear()


def _tag(value: int) -> int:
    """The tag of an x87 register's 80 bits."""
    exponent, fraction = value >> 64 & 0x7FFF, value & (1 << 64) - 1
    if not exponent:
        return SPECIAL if fraction else ZERO
    return VALID if exponent != 0x7FFF and fraction >> 63 else SPECIAL
