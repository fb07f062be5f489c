"""The KVM calls of a plan: one class per call, so that a ``match`` over :data:`Call` is checked for completeness.

A class has the ioctl's name, the capability that is checked first and what happens without it: an ``optional`` call is
left out, else the host cannot run the plan. Its fields are the call's arguments. ``runner/kvm/`` executes the calls
that need nothing else (:data:`VmCall`, :data:`VcpuCall`), and :class:`runner.machine.machine.Machine` those that need
something of the machine, such as its memory. The build declares the names to C (runner/native/generated.py).

The classes are named tuples of few shapes: all are created in every start of the program, and a shape takes ten times
as long as a class.
"""

from pathlib import Path
from typing import ClassVar, NamedTuple


class Slot(NamedTuple):
    """A KVM memory slot: guest memory ``[start, start + size)``. It is RAM, at ``offset`` in the one RAM mapping, or
    the file at ``path``, followed by zeros. The guest's writes to a ``read_only`` one are exits."""

    slot: int
    start: int
    size: int
    offset: int
    path: Path | None = None
    read_only: bool = False


class Ioctl:
    """The common part of all calls."""

    __slots__ = ()

    ioctl: ClassVar[str]
    requires: ClassVar[str | None] = None  # KVM_CAP_...
    optional: ClassVar[bool] = False

    def __eq__(self, other: object) -> bool:  # otherwise calls of one shape would be equal
        return other.__class__ is self.__class__ and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return super().__hash__()


class VmIoctl(Ioctl):
    """A call on the VM's descriptor that needs nothing but its fields."""

    __slots__ = ()


class VcpuIoctl(Ioctl):
    """A call on a vCPU's descriptor that needs nothing but its fields."""

    __slots__ = ()


class _Plain(NamedTuple):
    pass


class _Address(NamedTuple):
    address: int  # guest-physical


class _Vcpu(NamedTuple):
    vcpu: int  # from 0


class _Flags(NamedTuple):
    flags: int


class MsrRange(NamedTuple):
    """MSRs by their indexes."""

    first: int
    last: int


class _Msrs(NamedTuple):
    allowed: tuple[MsrRange, ...]


class _Slot(NamedTuple):
    slot: Slot


class Open(Ioctl, _Plain):
    """Open /dev/kvm."""

    __slots__ = ()
    ioctl = "open"


class GetApiVersion(Ioctl, _Plain):
    """The version must be 12."""

    __slots__ = ()
    ioctl = "KVM_GET_API_VERSION"


class CreateVm(Ioctl, _Plain):
    """The empty machine."""

    __slots__ = ()
    ioctl = "KVM_CREATE_VM"


class SetTssAddr(VmIoctl, _Address):
    """Three pages that Intel hosts need for real mode."""

    __slots__ = ()
    ioctl = "KVM_SET_TSS_ADDR"
    requires = "KVM_CAP_SET_TSS_ADDR"
    optional = True


class SetIdentityMapAddr(VmIoctl, _Address):
    """A page that Intel hosts need for protected mode without paging."""

    __slots__ = ()
    ioctl = "KVM_SET_IDENTITY_MAP_ADDR"
    requires = "KVM_CAP_SET_IDENTITY_MAP_ADDR"
    optional = True


class CreateIrqchip(VmIoctl, _Plain):
    """The interrupt controllers; created before the vCPUs, which then get their local APICs."""

    __slots__ = ()
    ioctl = "KVM_CREATE_IRQCHIP"
    requires = "KVM_CAP_IRQCHIP"


class CreatePit2(VmIoctl, _Flags):
    """The timer (i8254)."""

    __slots__ = ()
    ioctl = "KVM_CREATE_PIT2"
    requires = "KVM_CAP_PIT2"


class EnableMsrExits(VmIoctl, _Flags):
    """Accesses of MSRs that the filter denies become exits (KVM_CAP_X86_USER_SPACE_MSR)."""

    __slots__ = ()
    ioctl = "KVM_ENABLE_CAP"
    requires = "KVM_CAP_X86_USER_SPACE_MSR"


class SetMsrFilter(VmIoctl, _Msrs):
    """KVM answers only these MSRs."""

    __slots__ = ()
    ioctl = "KVM_X86_SET_MSR_FILTER"
    requires = "KVM_CAP_X86_MSR_FILTER"


class SetUserMemoryRegion(Ioctl, _Slot):
    """One slot of guest memory."""

    __slots__ = ()
    ioctl = "KVM_SET_USER_MEMORY_REGION"
    requires = "KVM_CAP_USER_MEMORY"


class GetVcpuMmapSize(Ioctl, _Plain):
    """The size of a vCPU's kvm_run mapping."""

    __slots__ = ()
    ioctl = "KVM_GET_VCPU_MMAP_SIZE"


class GetSupportedCpuid(Ioctl, _Plain):
    """The CPUID that this host can give a guest."""

    __slots__ = ()
    ioctl = "KVM_GET_SUPPORTED_CPUID"
    requires = "KVM_CAP_EXT_CPUID"


class CreateVcpu(Ioctl, _Vcpu):
    """A vCPU, with its number as its APIC id."""

    __slots__ = ()
    ioctl = "KVM_CREATE_VCPU"


class SetCpuid2(Ioctl, _Vcpu):
    """The vCPU's CPUID."""

    __slots__ = ()
    ioctl = "KVM_SET_CPUID2"
    requires = "KVM_CAP_EXT_CPUID"


class SetLapic(VcpuIoctl, _Vcpu):
    """The local APIC in virtual wire mode."""

    __slots__ = ()
    ioctl = "KVM_SET_LAPIC"
    requires = "KVM_CAP_IRQCHIP"


class SetSregs(Ioctl, _Vcpu):
    """Segment and control registers of the start."""

    __slots__ = ()
    ioctl = "KVM_SET_SREGS"


class SetRegs(Ioctl, _Vcpu):
    """General registers of the start."""

    __slots__ = ()
    ioctl = "KVM_SET_REGS"


class Run(Ioctl, _Vcpu):
    """The vCPU's thread enters the guest. It is stopped by immediate_exit in its kvm_run."""

    __slots__ = ()
    ioctl = "KVM_RUN"
    requires = "KVM_CAP_IMMEDIATE_EXIT"


VmCall = SetTssAddr | SetIdentityMapAddr | CreateIrqchip | CreatePit2 | EnableMsrExits | SetMsrFilter
VcpuCall = SetLapic
Call = (
    Open
    | GetApiVersion
    | CreateVm
    | VmCall
    | SetUserMemoryRegion
    | GetVcpuMmapSize
    | GetSupportedCpuid
    | CreateVcpu
    | SetCpuid2
    | VcpuCall
    | SetSregs
    | SetRegs
    | Run
)
