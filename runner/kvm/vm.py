"""A VM file descriptor: memory, interrupt controllers, vCPUs (api.rst, VM ioctls)."""

import os
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, assert_never

from runner.kvm.ioctl import call, ffi, lib
from runner.kvm.vcpu import VCPU
from vmspec.plan.calls import (
    CreateIrqchip,
    CreatePit2,
    EnableMsrExits,
    SetIdentityMapAddr,
    SetMsrFilter,
    SetTssAddr,
    Slot,
    VmCall,
)

# linux/kvm.h: struct kvm_irqfd; struct kvm_irq_routing, and its entries of the two kinds used here.
IRQFD = Struct("<4I16x")  # fd, gsi, flags, resamplefd
IOEVENTFD = Struct("<2Q3I36x")  # datamatch, addr, len, fd, flags
DEASSIGN = 1 << 2
READONLY = 1 << 1  # KVM_MEM_READONLY
ROUTING = Struct("<2I")  # nr, flags
ROUTE_TO_IRQCHIP = Struct("<4I2I24x")  # gsi, type, flags, pad; irqchip, pin
ROUTE_TO_MSI = Struct("<4I3I20x")  # the same; address_lo, address_hi, data
TO_IRQCHIP, TO_MSI = 1, 2  # KVM_IRQ_ROUTING_*
IOAPIC = 2  # KVM_IRQCHIP_IOAPIC; the PICs are 0 and 1
CLOCK = Struct("<Q40x")  # struct kvm_clock_data: clock; flags, the host's clocks
PIT = Struct("<13xB98x")  # struct kvm_pit_state2: the mode of channel 0
ENABLE = Struct("<2IQ24x64x")  # struct kvm_enable_cap: cap, flags, args
# struct kvm_msr_filter: flags (KVM_MSR_FILTER_DEFAULT_DENY), then 16 ranges: flags (read, write), number, first, bits
DENY = Struct("<I4x")
MSR_RANGE = Struct("<3I4xQ")
MSR_RANGES = 16
PERIODIC = (2, 3)  # modes (Intel 8254 data sheet): rate generator, square wave


class IrqchipRoute(NamedTuple):
    """A GSI that is an input of a controller in the kernel."""

    gsi: int
    irqchip: int
    pin: int

    def packed(self) -> bytes:
        """As struct kvm_irq_routing_entry."""
        return ROUTE_TO_IRQCHIP.pack(self.gsi, TO_IRQCHIP, 0, 0, self.irqchip, self.pin)


class MsiRoute(NamedTuple):
    """A GSI that is a message."""

    gsi: int
    address: int
    data: int

    def packed(self) -> bytes:
        """As struct kvm_irq_routing_entry."""
        return ROUTE_TO_MSI.pack(self.gsi, TO_MSI, 0, 0, self.address & 0xFFFFFFFF, self.address >> 32, self.data)


class VM:
    """The VM file descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def execute(self, made: VmCall) -> None:
        """Make a call of the plan. Raises KvmError."""
        match made:
            case SetTssAddr(address):
                call(self.fd, made.ioctl, address)
            case SetIdentityMapAddr(address):
                call(self.fd, made.ioctl, ffi.new("uint64_t *", address))
            case CreateIrqchip():
                call(self.fd, made.ioctl)
            case CreatePit2(flags):
                call(self.fd, made.ioctl, ffi.new("struct kvm_pit_config *", {"flags": flags}))
            case EnableMsrExits(flags):
                enabled = ENABLE.pack(lib.KVM_CAP_X86_USER_SPACE_MSR, 0, flags)
                call(self.fd, made.ioctl, ffi.from_buffer(enabled))
            case SetMsrFilter(allowed):
                # KVM reads the bits during the call. A range allows all of its MSRs, both ways.
                bits = [
                    ffi.new("uint8_t[]", b"\xff" * (-(-(msrs.last - msrs.first + 1) // 64) * 8)) for msrs in allowed
                ]
                ranges = [
                    MSR_RANGE.pack(3, msrs.last - msrs.first + 1, msrs.first, int(ffi.cast("uintptr_t", bitmap)))
                    for msrs, bitmap in zip(allowed, bits, strict=True)
                ]
                nothing = MSR_RANGE.pack(0, 0, 0, 0) * (MSR_RANGES - len(ranges))
                call(self.fd, made.ioctl, ffi.from_buffer(DENY.pack(1) + b"".join(ranges) + nothing))
            case _:
                assert_never(made)

    def restart_pit(self) -> None:
        """KVM_GET_PIT2, KVM_SET_PIT2: restart the period of a periodic channel 0, and discard the ticks that KVM has
        not delivered yet. A channel that is not periodic is left alone: it would interrupt a second time."""
        state = ffi.new("char[]", PIT.size)
        call(self.fd, "KVM_GET_PIT2", state)
        if PIT.unpack(ffi.buffer(state))[0] in PERIODIC:
            call(self.fd, "KVM_SET_PIT2", state)

    def clock(self) -> int:
        """KVM_GET_CLOCK: kvmclock, in ns."""
        data = ffi.new("char[]", CLOCK.size)
        call(self.fd, "KVM_GET_CLOCK", data)
        return int(CLOCK.unpack(ffi.buffer(data))[0])

    def set_clock(self, clock: int) -> None:
        """KVM_SET_CLOCK: kvmclock, in ns."""
        call(self.fd, "KVM_SET_CLOCK", ffi.from_buffer(CLOCK.pack(clock)))

    def set_user_memory_region(self, slot: Slot, host_address: int) -> None:
        """KVM_SET_USER_MEMORY_REGION: ``host_address`` is where the slot's RAM begins in this process."""
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.slot = slot.slot
        region.flags = READONLY if slot.read_only else 0
        region.guest_phys_addr = slot.start
        region.memory_size = slot.size
        region.userspace_addr = host_address
        call(self.fd, "KVM_SET_USER_MEMORY_REGION", region)

    def create_vcpu(self, index: int, mmap_size: int) -> VCPU:
        """KVM_CREATE_VCPU."""
        return VCPU(call(self.fd, "KVM_CREATE_VCPU", index), mmap_size)

    def irq_line(self, gsi: int, level: bool) -> None:
        """KVM_IRQ_LINE: drive an input of the interrupt controllers."""
        # A structure for each call: several devices' threads may be here at once.
        call(self.fd, "KVM_IRQ_LINE", ffi.new("struct kvm_irq_level *", {"irq": gsi, "level": level}))

    def irqfd(self, fd: int, gsi: int) -> None:
        """KVM_IRQFD: each write to an eventfd pulses a GSI."""
        call(self.fd, "KVM_IRQFD", ffi.from_buffer(IRQFD.pack(fd, gsi, 0, 0)))

    def ioeventfd(self, fd: int, address: int, size: int, present: bool) -> None:
        """KVM_IOEVENTFD: writes of ``size`` bytes at a guest-physical address write the eventfd, or no longer."""
        call(
            self.fd, "KVM_IOEVENTFD", ffi.from_buffer(IOEVENTFD.pack(0, address, size, fd, 0 if present else DEASSIGN))
        )

    def set_gsi_routing(self, routes: Sequence[IrqchipRoute | MsiRoute]) -> None:
        """KVM_SET_GSI_ROUTING: replace the routes of all GSIs."""
        entries = b"".join(route.packed() for route in routes)
        call(self.fd, "KVM_SET_GSI_ROUTING", ffi.from_buffer(ROUTING.pack(len(routes), 0) + entries))

    def close(self) -> None:
        """Close the descriptor; KVM frees the VM once the vCPUs' descriptors are closed too."""
        os.close(self.fd)
