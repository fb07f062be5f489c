"""The host's facts of a lock; vmspec finds :func:`facts` by its entry point (pyproject.toml, group vmspec.host)."""

from contextlib import ExitStack

from runner.kvm.system import System
from runner.recording import lockfacts
from runner.session.facts import capabilities
from vmspec.plan.settings import PlannedCPU


def facts(cpu: PlannedCPU) -> lockfacts.Facts:
    """The facts of this host that a run with this CPUID policy depends on. Makes a machine with one vCPU, which runs
    nothing, and closes it. Raises HostError or KvmError."""
    with ExitStack() as stack:
        system = System()
        stack.callback(system.close)
        system.check_api_version()
        known = capabilities(system)
        vm = system.create_vm()
        stack.callback(vm.close)
        vcpu = vm.create_vcpu(0, system.vcpu_mmap_size())
        stack.callback(vcpu.close)
        rate = vcpu.guest_tsc_khz() if known["KVM_CAP_GET_TSC_KHZ"] else 0
        return lockfacts.host(cpu, system.supported_cpuid(), known, rate)
