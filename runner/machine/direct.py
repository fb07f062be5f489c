"""Files that the guest reads in a device's region without exits, while the device lets it."""

import mmap
from collections.abc import Callable

from runner.kvm.errors import HostError
from runner.kvm.system import System
from runner.kvm.vm import VM
from runner.native._native import ffi
from vmspec.plan.calls import Slot
from vmspec.plan.plan import Plan


class Direct:
    """The regions of one machine. They take the slots after the plan's."""

    def __init__(self, plan: Plan, system: System, vm: VM) -> None:
        self._system = system
        self._vm = vm
        self._plan = plan
        self._next = len(plan.slots) + len(plan.mapped)
        self._maps: list[mmap.mmap] = []

    def region(self, device: int, name: str, fd: int) -> Callable[[bool], None]:
        """See :attr:`runner.devices.services.Services.direct`; ``device`` is an index. Raises HostError, KvmError,
        OSError."""
        found = next(region for region in self._plan.devices[device].regions if region.name == name)
        assert found.start is not None
        if not self._system.check_extension("KVM_CAP_READONLY_MEM"):
            raise HostError("this host's KVM lacks KVM_CAP_READONLY_MEM, which flash memory needs")
        slot = Slot(self._next, found.start, found.size, 0, read_only=True)
        self._next += 1
        # Shared: what the device writes to the file is what the guest reads (mmap(2)).
        self._maps.append(mmap.mmap(fd, found.size, mmap.MAP_SHARED, mmap.PROT_READ))
        host = int(ffi.cast("uintptr_t", ffi.from_buffer(self._maps[-1])))
        shown = False

        def show(now: bool) -> None:
            nonlocal shown
            if now != shown:
                self._vm.set_user_memory_region(slot if now else slot._replace(size=0), host)
                shown = now

        return show

    def close(self) -> None:
        """Unmap the files; no vCPU runs any more."""
        while self._maps:
            self._maps.pop().close()
