"""The machine: KVM made to match a plan, run until something ends it, then closed."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, assert_never

from runner.devices.device import Device, DeviceError, raised
from runner.devices.services import Services
from runner.kvm.errors import HostError, KvmError
from runner.kvm.ioctl import lib
from runner.kvm.stats import Stats
from runner.kvm.system import System
from runner.kvm.vcpu import VCPU
from runner.kvm.vm import VM
from runner.loop import Latch, Loop
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.inputs import AdmittedInterrupt, AdmittedMessage, Inputs
from runner.machine.interrupts import Interrupts
from runner.machine.loading import Loader
from runner.machine.result import Ending
from runner.machine.vcpu import Gate, VcpuThread, handle_kicks
from runner.recording.rings import Rings
from runner.x86.cpuid import CpuidEntry, for_vcpu
from vmspec.host.threads import Worker
from vmspec.plan import calls
from vmspec.plan.calls import Call
from vmspec.plan.plan import Plan, PlannedDevice
from vmspec.trace.ends import DEVICE_ENDS, KINDS, DeviceEnd
from vmspec.trace.record import REASONS

# The system events that vmrun's guests never cause (linux/kvm.h, KVM_SYSTEM_EVENT_*).
SYSTEM_EVENTS = {4: "WAKEUP", 5: "SUSPEND", 6: "SEV_TERM", 7: "TDX_FATAL"}
FULL = 1.0  # seconds that a vCPU may wait for room in its ring once the run has ended
PATIENCE = 10.0  # seconds that a device model may take to return once the run has ended


class Machine:
    """A plan on KVM. Build it, :meth:`attach` the devices, :meth:`run` it, :meth:`close` it."""

    def __init__(self, plan: Plan, loader: Loader) -> None:
        """Raises HostError or KvmError, and any error of loading the memory. Nothing of KVM stays open then. The caller
        closes the loader, after the machine."""
        self.plan = plan
        self.memory = loader.memory
        self.loader = loader
        self.system: System
        self.vm: VM
        self.vcpus: list[VCPU] = []
        self.cpuid: list[CpuidEntry] = []
        self.clock = HostClock()  # of the devices
        self.inputs = Inputs()
        self.buses: Buses
        self.ending: Ending | None = None
        self.last: VcpuThread | None = None  # the vCPU that ended the run
        self.failures: list[str] = []  # errors of devices after something else had ended the run
        self.stopping: Latch  # set to end the run
        self.loop: Loop  # of the thread that calls run()
        self.duration = 0  # ns, by the trace's clock, from its time 0 until the last vCPU stopped
        self._mmap_size = 0
        self._lock = threading.Lock()
        self._stats: list[Stats] = []
        self._running = 0
        self._threads: list[VcpuThread] = []
        self._deliverer: Worker | None = None
        self._rings: Rings
        self._gate = Gate()
        with ExitStack() as stack:
            self._resources = stack
            self._realise()
            self._resources = stack.pop_all()

    def _realise(self) -> None:
        """Execute the plan's calls in order."""
        self.stopping = Latch()
        self._resources.callback(self.stopping.close)
        self.loop = Loop()
        self._resources.callback(self.loop.close)
        for step, call in enumerate(self.plan.calls):
            try:
                self._execute(call)
            except KvmError as error:
                error.step = step
                error.capability = call.requires
                raise
        self.loader.state()  # vCPUs may run once everything is in memory

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
            case calls.SetTssAddr(address):
                self.vm.set_tss_addr(address)
            case calls.SetIdentityMapAddr(address):
                self.vm.set_identity_map_addr(address)
            case calls.CreateIrqchip():
                self.vm.create_irqchip()
            case calls.CreatePit2(flags):
                self.vm.create_pit2(flags)
            case calls.SetUserMemoryRegion(slot):
                self.vm.set_user_memory_region(slot, self.memory.host(slot.start, slot.size))
            case calls.GetVcpuMmapSize():
                self._mmap_size = self.system.vcpu_mmap_size()
            case calls.GetSupportedCpuid():
                self.cpuid = self.system.supported_cpuid()
            case calls.CreateVcpu(vcpu):
                self.vcpus.append(self.vm.create_vcpu(vcpu, self._mmap_size))
                self._resources.callback(self.vcpus[-1].close)
            case calls.SetCpuid2(vcpu):
                self.vcpus[vcpu].set_cpuid2(self._cpuid(vcpu))
            case calls.SetLapic(vcpu):
                self.vcpus[vcpu].set_virtual_wire()
            case calls.SetSregs(vcpu):
                self.vcpus[vcpu].set_sregs(self.loader.state())
            case calls.SetRegs(vcpu):
                self.vcpus[vcpu].set_regs(self.loader.state().registers)
            case calls.Run():
                pass  # the threads that run() starts
            case _:
                assert_never(call)

    def _cpuid(self, index: int) -> list[CpuidEntry]:
        deadline = self.plan.irqchip and self.system.check_extension("KVM_CAP_TSC_DEADLINE_TIMER") != 0
        return for_vcpu(self.cpuid, index, self.plan.vm.vcpus, self.plan.cpu, tsc_deadline=deadline)

    def attach(self, make: Callable[[PlannedDevice], Device], output: Callable[[int], Any]) -> None:
        """Make the plan's devices and connect them; ``output`` returns what each, by its index, prints to."""
        self.buses = Buses(self.plan.devices, self.clock, self.inputs, self._device_failed, self.plan.taken)
        self._resources.callback(self.buses.close)
        interrupts = Interrupts(self.system, self.vm, self.plan.irqchip)
        self._resources.callback(interrupts.close)
        for index, planned in enumerate(self.plan.devices):
            device = make(planned)
            self.buses.devices.append(device)
            services = Services(
                bus=self.buses.end_of(index),
                irq=AdmittedInterrupt(interrupts.line(planned.irq), self.inputs, index),
                msi=partial(self._message, interrupts, index),
                memory=self.memory,
                output=output(index),
                end=partial(self._device_ends, planned.name),
                clock=self.clock,
                after=partial(self.buses.after, index),
            )
            try:
                device.attach(services)
            except (DeviceError, HostError):
                raise
            except BaseException as error:
                raise DeviceError(f"device {planned.name} raised as it was started: {raised(error, device)}") from error

    def _message(self, interrupts: Interrupts, device: int) -> AdmittedMessage:
        return AdmittedMessage(interrupts.message(), self.inputs, device)

    def tsc_khz(self) -> int:
        """The host's TSC rate, from KVM. Raises HostError if KVM does not report it."""
        if self.system.check_extension("KVM_CAP_GET_TSC_KHZ"):
            return self.vcpus[0].tsc_khz()
        raise HostError("this host's KVM lacks KVM_CAP_GET_TSC_KHZ, which the trace's clock needs")

    def stats(self) -> list[dict[str, int]]:
        """KVM's own counters of each vCPU; empty if the host has no KVM_CAP_BINARY_STATS_FD."""
        if not self._stats and self.system.check_extension("KVM_CAP_BINARY_STATS_FD"):
            for vcpu in self.vcpus:
                self._stats.append(vcpu.stats())
                self._resources.callback(self._stats[-1].close)
        return [stats.read() for stats in self._stats]

    def run(
        self,
        rings: Rings,
        started: Callable[[], None],
        timeout: float,
        watch: Callable[[list[int]], None],
        asked: Callable[[], bool],
    ) -> Ending:
        """Run the guest to its end and return how it ended. ``started`` is called once every vCPU is in its loop.
        ``watch`` is called with the vCPUs' kernel thread ids before time 0, while none of them has entered the guest.
        ``asked`` returns whether the end was requested; it is called whenever the loop wakes. The calling
        thread runs :attr:`loop` until the end."""
        self._rings = rings
        handle_kicks()
        rip = self.plan.trace.rip and self.system.check_extension("KVM_CAP_SYNC_REGS") & lib.KVM_SYNC_X86_REGS
        if rip:
            for vcpu in self.vcpus:
                vcpu.sync_registers()
        self._threads = [
            VcpuThread(index, vcpu, self.buses, rings.ring(index), bool(rip), self._vcpu_ended, self._gate)
            for index, vcpu in enumerate(self.vcpus)
        ]
        self._running = len(self._threads)
        deliverer = self._deliverer = Worker("devices", self._deliver)
        tsc_khz = self.tsc_khz()
        try:
            for thread in self._threads:
                thread.start()
            deliverer.start()
            self.inputs.begin(rings, self._threads)
            watch([thread.native_id or 0 for thread in self._threads])
            rings.start(tsc_khz)
            if not self.stopping.is_set():  # a device may have ended the run at its start
                self._gate.open(len(self._threads))
            started()
            self._wait(timeout, asked)
        except KeyboardInterrupt:  # a user's own program handles its signals itself
            self.end(Ending("interrupted"))
        finally:
            self.stopping.set()
            while True:
                try:
                    self._stop(deliverer)
                    break
                except KeyboardInterrupt:
                    continue  # a second signal does not make a thread end
            self.duration = rings.length()
        assert self.ending is not None
        return self.ending

    def _wait(self, timeout: float, asked: Callable[[], bool]) -> None:
        """Turn the loop until the run has an end."""
        self.loop.after(
            timeout, lambda: self.end(Ending("timeout", detail=f"the guest did not end within {timeout:g} s"))
        )
        while not self.stopping.is_set():
            if asked():
                self.end(Ending("interrupted"))
            else:
                self.loop.turn()

    def _stop(self, deliverer: Worker) -> None:
        for thread in self._threads:
            thread.stop()
        self._gate.open()  # a thread that waits there leaves its first KVM_RUN at once
        self.buses.wake()
        now = time.monotonic()
        full, latest = now + FULL, now + PATIENCE
        # A vCPU that waits for room in its ring must not keep the others waiting when nothing records yet or any more.
        if any(not thread.wait(max(0.0, full - time.monotonic())) and not thread.answering for thread in self._threads):
            self._rings.abandon()
        for waited in (*self._threads, deliverer):
            if waited.wait(max(0.0, latest - time.monotonic())):
                continue
            self.ending = Ending("device-error", detail=self._stuck(waited))
            return
        self.buses.flush()
        self.buses.close_devices()

    def _stuck(self, thread: Worker) -> str:
        if (giving := self.buses.giving) is not None:  # all answers of Python wait for it
            return f"device {self.plan.devices[giving].name} does not come back from writes that were queued for it"
        if not isinstance(thread, VcpuThread) or not thread.answering:
            return f"a device does not come back to its thread, {thread.name}"
        device, offset, write = thread.asked()
        what = f"{'write' if write else 'read'} of its register {offset:#x}"
        return f"device {self.plan.devices[device].name} does not come back: {thread.name} waits for a {what}"

    def _deliver(self) -> None:
        try:
            while not self.stopping.is_set():
                self.buses.deliver()
        except BaseException as error:  # otherwise vCPUs would wait forever for room in the queue
            self.end(Ending("device-error", detail=f"the device thread failed: {error!r}"))

    def end(self, ending: Ending) -> None:
        """Request the end of the run; the first request decides how it ended."""
        if self.ending is None:
            self.inputs.admit("end", partial(self._end, ending), data=ending.kind.encode())

    def _end(self, ending: Ending) -> None:
        with self._lock:
            if self.ending is None:
                self._ends_with(ending)

    def _ends_with(self, ending: Ending) -> None:
        """The lock is held. vCPUs leave the guest at once, so the same guest always ends at the same exit."""
        self.ending = ending
        self.stopping.set()
        self.loop.wake()
        for thread in self._threads:
            thread.stop()

    def _device_ends(self, device: str, kind: DeviceEnd, status: int | None = None) -> None:
        if kind not in DEVICE_ENDS:
            raise ValueError(f"a device ends a run with one of {', '.join(DEVICE_ENDS)}, not with {kind!r}")
        if status is not None and not (isinstance(status, int) and 0 <= status <= 255):
            raise ValueError(f"a device ends a run with a status from 0 to 255, not with {status!r}")
        detail = "" if status is None else f"the guest chose status {status}"
        caller = threading.current_thread()
        thread = caller if isinstance(caller, VcpuThread) else None
        if KINDS[kind].crash:
            vcpu = f"vCPU {thread.index}: " if thread is not None else ""
            detail = f"{vcpu}the guest reported a crash of its own to {device}" + (f"; {detail}" if detail else "")
        with self._lock:
            if self.ending is None:
                # A queued write does not say which vCPU made it: take any of them.
                self.last = thread or next(iter(self._threads), None)
                self._ends_with(Ending(kind, status, detail))

    def _device_failed(self, error: DeviceError) -> None:
        with self._lock:
            if self.ending is None:
                self._ends_with(Ending("device-error", detail=str(error)))
            elif str(error) != self.ending.detail:
                self.failures.append(str(error))

    def _vcpu_ended(self, thread: VcpuThread) -> None:
        """The last call of a vCPU's thread."""
        with self._lock:
            self._running -= 1
            ending = self._ending(thread)
            if ending is None or self.ending is not None:
                return
            self.last = thread
            self._ends_with(ending)

    def _ending(self, thread: VcpuThread) -> Ending | None:
        if thread.failure is not None:
            return Ending("device-error", detail=f"vCPU {thread.index}: {thread.failure!r}")
        if thread.outcome == lib.VCPU_STOPPED:
            return None
        if thread.outcome == lib.VCPU_FAILED:
            return Ending("kvm-error", detail=f"KVM_RUN of vCPU {thread.index} failed: {thread.error}")
        match thread.exit_reason:
            case lib.KVM_EXIT_HLT:
                # Without an interrupt controller nothing wakes a halted vCPU. The machine ends when its last vCPU
                # halts.
                return Ending("halt") if self._running == 0 else None
            case lib.KVM_EXIT_SHUTDOWN:
                return Ending("triple-fault", detail=f"vCPU {thread.index} triple-faulted")
            case lib.KVM_EXIT_SYSTEM_EVENT:
                match thread.system_event():
                    case lib.KVM_SYSTEM_EVENT_SHUTDOWN:
                        return Ending("poweroff")
                    case lib.KVM_SYSTEM_EVENT_RESET:
                        return Ending("reset")
                    case lib.KVM_SYSTEM_EVENT_CRASH:
                        return Ending(
                            "guest-panic", detail=f"vCPU {thread.index}: the guest reported a crash of its own"
                        )
                    case event:
                        name = SYSTEM_EVENTS.get(event, f"of type {event}")
                        detail = f"KVM_EXIT_SYSTEM_EVENT {name}, which vmrun does not handle"
                        return Ending("unexpected-exit", detail=detail)
            case lib.KVM_EXIT_FAIL_ENTRY:
                reason = thread.hardware_reason()
                return Ending("fail-entry", detail=f"the processor refused to enter the guest: reason {reason:#x}")
            case lib.KVM_EXIT_INTERNAL_ERROR:
                suberror, words = thread.suberror()
                detail = internal_error(thread.index, suberror) + "".join(f" {word:#x}" for word in words)
                return Ending("internal-error", detail=detail)
            case reason:
                name = REASONS[reason] if reason < len(REASONS) else str(reason)
                return Ending("unexpected-exit", detail=f"KVM_EXIT_{name.upper()}, which vmrun does not handle")

    def counts(self) -> list[list[int]]:
        """Exits by KVM_EXIT_* number, for each vCPU."""
        return [thread.counts for thread in self._threads]

    def alive(self) -> bool:
        """Whether a thread still uses the machine, which then must not be closed."""
        return any(thread is not None and thread.running for thread in (*self._threads, self._deliverer))

    def close(self) -> None:
        """Close every descriptor and unmap the guest's memory."""
        self._resources.close()


def internal_error(index: int, suberror: int) -> str:
    """Describe a KVM_EXIT_INTERNAL_ERROR (linux/kvm.h, KVM_INTERNAL_ERROR_*)."""
    match suberror:
        case 1:
            what = "this host's KVM cannot execute an instruction of the guest"
        case 2:
            what = "an exception came up while KVM delivered another"
        case 3:
            what = "KVM could not deliver an event"
        case 4:
            what = "the processor gave an exit reason that KVM does not know"
        case _:
            what = "KVM gave up"
    return f"vCPU {index}: {what} (KVM_EXIT_INTERNAL_ERROR, suberror {suberror})"
