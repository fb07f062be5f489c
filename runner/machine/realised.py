"""KVM made to match a plan: the VM, its memory slots, interrupt controllers and vCPUs."""

from contextlib import ExitStack
from typing import assert_never

from runner.kvm.errors import HostError, KvmError
from runner.kvm.system import System
from runner.kvm.vcpu import VCPU
from runner.kvm.vm import VM
from runner.machine.loading import Loader
from runner.x86.cpuid import CpuidEntry, address_bits, for_vcpu
from vmspec.plan import calls
from vmspec.plan.calls import Call
from vmspec.plan.plan import Plan

SHOWN = 8  # features in a message


class Realised:
    """What the calls of a plan have made; ``resources`` closes it."""

    def __init__(self, plan: Plan, loader: Loader, resources: ExitStack) -> None:
        """Execute the calls in order. Raises HostError or KvmError, and any error of loading the memory."""
        self.system: System
        self.vm: VM
        self.vcpus: list[VCPU] = []
        self.cpuid: list[CpuidEntry] = []  # what the host supports
        self.processor: list[CpuidEntry] = []  # what the first vCPU has
        self._plan = plan
        self._loader = loader
        self._resources = resources
        self._mmap_size = 0
        for step, call in enumerate(plan.calls):
            try:
                self._execute(call)
            except KvmError as error:
                error.step = step
                error.capability = call.requires
                raise
        loader.state()  # vCPUs may run once everything is in memory

    def _execute(self, call: Call) -> None:
        if call.requires is not None and not self.system.check_extension(call.requires):
            if call.optional:
                return
            raise HostError(f"this host's KVM lacks {call.requires}, which {call.ioctl} needs")
        match call:
            case calls.Open():
                self.system = System()
                self._resources.callback(self.system.close)
            case calls.GetApiVersion():
                self.system.check_api_version()
            case calls.CreateVm():
                self.vm = self.system.create_vm()
                self._resources.callback(self.vm.close)
            case calls.VmIoctl():
                self.vm.execute(call)
            case calls.SetUserMemoryRegion(slot):
                if slot.read_only and not self.system.check_extension("KVM_CAP_READONLY_MEM"):
                    raise HostError(f"this host's KVM lacks KVM_CAP_READONLY_MEM, which {slot.path} needs")
                self.vm.set_user_memory_region(slot, self._loader.memory.host(slot.start, slot.size))
            case calls.GetVcpuMmapSize():
                self._mmap_size = self.system.vcpu_mmap_size()
            case calls.GetSupportedCpuid():
                self.cpuid = self.system.supported_cpuid()
                self._check_addresses()
                if self._plan.cpu.leaves:
                    self._check_model()
            case calls.CreateVcpu(vcpu):
                self.vcpus.append(self.vm.create_vcpu(vcpu, self._mmap_size))
                self._resources.callback(self.vcpus[-1].close)
            case calls.SetCpuid2(vcpu):
                entries = self._cpuid(vcpu)
                self.processor = self.processor or entries
                self.vcpus[vcpu].set_cpuid2(entries)
            case calls.VcpuIoctl():
                self.vcpus[call.vcpu].execute(call)
            case calls.SetSregs(vcpu):
                self.vcpus[vcpu].set_sregs(self._loader.state())
            case calls.SetRegs(vcpu):
                self.vcpus[vcpu].set_regs(self._loader.state().registers)
            case calls.Run():
                pass  # the machine's threads
            case _:
                assert_never(call)

    def _check_addresses(self) -> None:
        """A guest cannot reach memory past the addresses of its processors."""
        bits = address_bits(self.cpuid)
        last = max((*self._plan.slots, *self._plan.mapped), key=lambda slot: slot.start)
        if bits is not None and last.start + last.size > 1 << bits:
            what = f"{last.path} ends" if last.path else "RAM ends"
            message = f"processors on this host have {bits} bits of physical addresses"
            raise HostError(f"{message}: {what} at {last.start + last.size:#x}, past their end")

    def _check_model(self) -> None:
        """A guest must not be told of what the host lacks."""
        from runner.x86.cpumodel import lacks  # late: few specs have a model

        if missing := lacks(self._plan.cpu, self.cpuid):
            described = "vm.time" if self._plan.cpu.own else "cpu.model"
            shown = "; ".join(missing[:SHOWN]) + f"; and {len(missing) - SHOWN} more" * (len(missing) > SHOWN)
            raise HostError(
                f"this host does not support all of the processor that {described} describes; it lacks {shown}"
            )

    def _cpuid(self, index: int) -> list[CpuidEntry]:
        deadline = self._plan.irqchip and self.system.check_extension("KVM_CAP_TSC_DEADLINE_TIMER") != 0
        return for_vcpu(self.cpuid, index, self._plan.vm.vcpus, self._plan.cpu, tsc_deadline=deadline)
