"""Keeps the emulated host's kernel from patching its own code, at which QEMU 7.2 can make it stand still.

KVM and tracepoints have static keys (Documentation/staging/static-keys.rst): the first user of each switches it, and
the last switches it back, by patching. Whoever has one more VM and one more event never lets them be switched: a VM
with its interrupt controllers, one without, and the events of a thread that never is in a guest.
"""

import threading

from runner.kvm.system import System
from runner.recording.tracepoints.perf import Tracepoints
from vmspec.plan.calls import CreateIrqchip

_kept: list[object] = []


def keep() -> None:
    """Have one user more of each, until this process ends."""
    system = System()
    size = system.vcpu_mmap_size()
    plain, complete = system.create_vm(), system.create_vm()
    complete.execute(CreateIrqchip())
    events = Tracepoints()
    events.open([threading.get_native_id()])
    _kept.extend((plain, plain.create_vcpu(0, size), complete, complete.create_vcpu(0, size), events))
