"""The machine: KVM made to match a plan, run until something ends it, then closed."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from runner.devices.device import Device, DeviceError, LostError, raised
from runner.devices.names import ChangedError
from runner.devices.services import Clock, Private, Services
from runner.kvm.errors import HostError
from runner.kvm.ioctl import lib
from runner.kvm.stats import Stats
from runner.loop import Latch, Loop
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.commands import Commands
from runner.machine.configuration import ConfigurationSpace
from runner.machine.direct import Direct
from runner.machine.inputs import AdmittedInterrupt, AdmittedMessage, Inputs
from runner.machine.interrupts import Interrupts
from runner.machine.lifecycle import Barrier, Lifecycle, LifecycleError, State
from runner.machine.loading import Loader
from runner.machine.realised import Realised
from runner.machine.result import Ending
from runner.machine.vcpu import VcpuThread, handle_kicks
from runner.machine.virtqueue import Queue
from runner.memory import GuestMemory
from runner.recording.requests import Requests
from runner.recording.rings import Rings
from vmspec.host.threads import Worker
from vmspec.plan import calls
from vmspec.plan.plan import Plan, PlannedDevice
from vmspec.trace.ends import DEVICE_ENDS, KINDS, DeviceEnd

if TYPE_CHECKING:
    from runner.machine.dma import DMA
    from runner.machine.guesttime import GuestTime
    from runner.machine.virtual import VirtualTime

FULL = 1.0  # seconds that a vCPU may wait for room in its ring once the run has ended
PATIENCE = 10.0  # seconds that a device model may take to return once the run has ended, or before a pause
GATHERING = 1.0  # seconds that the vCPU threads may take to reach the gate before the guest; more is no error


class Machine:
    """A plan on KVM. Build it, :meth:`attach` the devices, :meth:`run` it, :meth:`close` it. While it runs, any thread
    may :meth:`pause` and :meth:`resume` it."""

    def __init__(self, plan: Plan, loader: Loader) -> None:
        """Raises HostError or KvmError, and any error of loading the memory. Nothing of KVM stays open then. The caller
        closes the loader, after the machine."""
        self.plan = plan
        self.memory = loader.memory
        self.loader = loader
        self._host_time = HostClock()  # of the timeout
        self.time = _virtual(plan, loader.memory)
        self.clock: Clock = self.time.clock if self.time else self._host_time  # of the devices
        self.inputs = Inputs()
        if self.time is not None:
            self.inputs.clock, self.inputs.comes = self.time.clock.monotonic, self.time.comes
        self.requests = Requests()
        self._dma: DMA | None = None
        self.buses: Buses
        self.commands: Commands  # once the devices are attached
        self.ending: Ending | None = None
        self.last: VcpuThread | None = None  # the vCPU that ended the run
        self.private: dict[str, Private] = {}  # what the guest writes and no file keeps, by devices' names
        self.restored: Path | None = None  # the snapshot from which it goes on
        self.failures: list[Ending] = []  # how devices failed after something else had ended the run
        # For those who read the guest's memory while it stands still: a debugger takes its breakpoints out.
        self.unpatched: Callable[[], AbstractContextManager[None]] = nullcontext
        self.held = False  # a debugger has stopped the guest, or begins before it: only the debugger lets it go on
        self.duration = 0  # ns, by the trace's clock, from its time 0 until the last vCPU stopped
        self._life = Lifecycle()
        self._lock = self._life.lock
        self._changing = threading.Lock()  # by pause() and resume(), one after the other
        self._timeout = math.inf  # seconds
        self._deadline = math.inf  # by the host's clock without pauses, in ns
        self._stats: list[Stats] = []
        self._running = 0
        self._threads: list[VcpuThread] = []
        self._deliverer: Worker | None = None
        self._rings: Rings
        with ExitStack() as stack:
            self.stopping = Latch()  # set to end the run
            stack.callback(self.stopping.close)
            self.loop = Loop()  # of the thread that calls run()
            stack.callback(self.loop.close)
            kvm = Realised(plan, loader, stack)
            self._resources = stack.pop_all()
        self.system, self.vm, self.vcpus, self.cpuid = kvm.system, kvm.vm, kvm.vcpus, kvm.cpuid
        self.processor = kvm.processor  # CPUID of the first vCPU
        self._barrier = Barrier(self.stopping)

    def keep_dma(self, rings: Rings) -> None:
        """Put what devices write to the guest's memory and read there into ``rings.transfers``, of a machine with
        virtual time. Call it before :meth:`attach`."""
        from runner.machine.dma import DMA  # late: few runs record it

        assert rings.transfers is not None
        self._dma = DMA(self.memory, rings.transfers.ring, rings.ring(0))

    def attach(
        self, make: Callable[[PlannedDevice], Device], output: Callable[[int, int], Callable[[bytes], None]]
    ) -> None:
        """Make the plan's devices and connect them; ``output`` returns what each port of each, by their indexes, prints
        to. Port 0 is the device itself."""
        interrupts = Interrupts(self.system, self.vm, self.plan.irqchip)
        self._resources.callback(interrupts.close)  # after the buses, whose workers write to the eventfds
        self.buses = Buses(
            self.plan.devices, self.clock, self.inputs, self._device_failed, self.plan.taken, self._ioeventfd, self._dma
        )
        self._resources.callback(self.buses.close)
        if self.time is not None:
            self.time.connect(self.buses)
        self.commands = Commands(self.plan, self.buses, self._life)
        self.queues: list[Queue] = []
        configuration = ConfigurationSpace(self.buses)
        direct = Direct(self.plan, self.system, self.vm)
        self._resources.callback(direct.close)
        for index, planned in enumerate(self.plan.devices):
            device = make(planned)
            self.buses.devices.append(device)
            outputs = [output(index, port) for port in range(len(planned.ends))]
            services = Services(
                bus=self.buses.end_of(index),
                irq=AdmittedInterrupt(
                    self.time.line(index, planned.irq) if self.time else interrupts.line(planned.irq),
                    self.inputs,
                    index,
                ),
                msi=partial(self._message, interrupts, index),
                memory=self.memory,
                output=outputs[0],
                port_output=partial(_print, outputs),
                random=partial(self.inputs.random, index),
                end=partial(self._device_ends, planned.name),
                clock=self.clock,
                after=partial(self.buses.after, index),
                virtqueue=partial(self._virtqueue, index),
                data_path=partial(self.buses.data_path, index, self.loop.watch),
                configuration=configuration,
                direct=partial(direct.region, index),
                intr=self.time.output if self.time else _nobody,
            )
            try:
                with self.buses.interpreter:
                    device.attach(services)
            except ChangedError as error:
                raise DeviceError(f"device {planned.name} {error}") from error
            except (DeviceError, HostError):
                raise
            except BaseException as error:
                raise DeviceError(f"device {planned.name} failed to start: {raised(error, device)}") from error

    def _ioeventfd(self, fd: int, address: int, size: int, present: bool) -> None:
        if not self.system.check_extension("KVM_CAP_IOEVENTFD"):
            raise HostError('this host\'s KVM lacks KVM_CAP_IOEVENTFD, which notify = "ioeventfd" needs')
        self.vm.ioeventfd(fd, address, size, present)

    def _virtqueue(self, index: int, number: int, kind: str) -> Queue:
        queue = Queue(self.memory, self.requests, index, number, kind)
        self.queues.append(queue)
        return queue

    def _message(self, interrupts: Interrupts, device: int) -> AdmittedMessage:
        return AdmittedMessage(interrupts.message(), self.inputs, device)

    def host_tsc_khz(self) -> int:
        """The host's TSC rate, from KVM. Raises HostError if KVM does not report it."""
        if self.system.check_extension("KVM_CAP_GET_TSC_KHZ"):
            return self.vcpus[0].guest_tsc_khz()  # vmrun gives guests no other rate
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
            VcpuThread(
                index, vcpu, self.buses, rings.ring(index), bool(rip), self._vcpu_ended, self._barrier.gate, self.time
            )
            for index, vcpu in enumerate(self.vcpus)
        ]
        self._running = len(self._threads)
        for thread in self._threads if self.held else ():
            thread.hold()
        deliverer = self._deliverer = Worker("devices", self._deliver)
        tsc_khz = self.host_tsc_khz()
        try:
            for thread in self._threads:
                thread.start()
            self.inputs.begin(rings, self._threads)
            rings.record(self.requests)
            watch([thread.native_id or 0 for thread in self._threads])
            rings.start(tsc_khz)
            deliverer.start()
            self.buses.release()  # of a machine that was restored
            self._begin(timeout)
            started()
            self._wait(asked)
        except KeyboardInterrupt:  # a user's own program handles its signals itself
            self.end(Ending("interrupted"))
        except Exception as error:
            if not (changed := self.buses.interpreter.restore()):
                raise
            detail = f"device {' or '.join(self.buses.own)} changed {', '.join(changed)}, which vmrun needs: {error!r}"
            self.end(Ending("device-error", detail=detail))
        finally:
            self.buses.interpreter.restore()  # the rest of the program needs it too
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

    def _begin(self, timeout: float) -> None:
        """Let the guest run, and for so many seconds at most, unless a device has ended the run as it started."""
        self._timeout = timeout
        self._barrier.vcpus(self._threads, time.monotonic() + GATHERING)
        self._deadline = self._host_time.monotonic() + timeout * 1e9
        with self._lock:
            if self.state is State.CREATED:
                self._go_on()
        if self.time is not None and self.plan.time.spin:
            self._watch(self.time)

    def _watch(self, time: "VirtualTime") -> None:
        """Have a guest ended that makes no exits."""
        from runner.machine.watchdog import Watchdog  # late: few machines have virtual time

        rings = self._rings
        Watchdog(
            self.plan.time.spin, self.loop, self._host_time, time, self._threads[0],
            lambda: rings.counters("interrupted")[0], lambda: self.state is State.RUNNING, self.end,
        ).look()  # fmt: skip

    def _go_on(self) -> None:
        """The lock is held."""
        self._life.enter(State.RUNNING)
        self.loop.after((self._deadline - self._host_time.monotonic()) / 1e9, self._timed_out)
        self._barrier.open()

    def _timed_out(self) -> None:
        self.end(Ending("timeout", detail=f"the guest did not end within {self._timeout:g} s"))

    def _wait(self, asked: Callable[[], bool]) -> None:
        """Turn the loop until the run has an end."""
        while not self.stopping.is_set():
            if asked():
                self.end(Ending("interrupted"))
            else:
                self.loop.turn()

    def _stop(self, deliverer: Worker) -> None:
        with self._lock:
            if self.state is not State.ENDED:  # it came to no end of its own
                self._life.enter(State.ENDED)
        for thread in self._threads:
            thread.stop()
        self._barrier.open()  # a thread that stands there, paused or yet to begin, leaves its next KVM_RUN at once
        self.buses.wake()
        with self._changing:  # a pause under way finds out, and leaves KVM alone from then on
            pass
        now = time.monotonic()
        full, latest = now + FULL, now + PATIENCE
        # A vCPU that waits for room in its ring must not keep the others waiting when nothing records yet or any more.
        late = [thread for thread in self._threads if not thread.wait(max(0.0, full - time.monotonic()))]
        if not all(thread.answering for thread in late) or self._rings.transfers_wait:
            self._rings.abandon()
        if not deliverer.wait(max(0.0, full - time.monotonic())) and self._rings.requests_wait:
            self._rings.abandon()
        for waited in (*self._threads, deliverer):
            if waited.wait(max(0.0, latest - time.monotonic())):
                continue
            self.ending = self._stuck(waited)
            return
        self.buses.drain()
        self.buses.close_devices()
        self.buses.interpreter.restore()

    def _stuck(self, thread: Worker) -> Ending:
        """How a run ends whose thread does not return."""
        if (giving := self.buses.giving) is not None:  # all answers of Python wait for it
            name = self.plan.devices[giving].name
            return Ending("device-error", detail=f"device {name} does not return from its queued writes")
        if not isinstance(thread, VcpuThread):
            return Ending("device-error", detail=f"a device call does not return in its thread, {thread.name}")
        if self._rings.counters("waiting")[thread.index]:
            detail = f"{thread.name} waits for room in its ring: the recorder does not keep up"
            return Ending("trace-failed", detail=detail)
        if thread.ticking:
            return Ending("device-error", detail=f"a device call does not return in {thread.name}'s tick")
        if not thread.answering:
            return Ending("kvm-error", detail=f"{thread.name} does not return from KVM_RUN")
        device, offset, write = thread.asked()
        what = f"{'write' if write else 'read'} of its register {offset:#x}"
        detail = f"device {self.plan.devices[device].name} does not return: {thread.name} waits for a {what}"
        return Ending("device-error", detail=detail)

    @property
    def state(self) -> State:
        """What the machine is at this moment."""
        return self._life.state

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self.state is State.PAUSED

    def pause(self, timeout: float = PATIENCE) -> bool:
        """Pause the guest until :meth:`resume`. Returns True once all vCPUs and the device thread have stopped, or if
        the guest is paused already; False if the run has ended.

        Each vCPU has left KVM_RUN with its last exit complete, so KVM can report its whole state. The guest's clocks
        and the devices' timers stop too (:class:`runner.machine.guesttime.GuestTime`,
        :class:`runner.machine.clock.HostClock`), and the pause does not count towards the run's timeout. Input from
        the host waits. Anything that ends a running machine also ends a paused one.

        Raises TimeoutError if a device call does not return within ``timeout`` seconds; the guest then continues.
        Raises LifecycleError before the guest runs, and if a vCPU or a device calls this, because it would wait for
        itself. Raises KvmError.
        """
        self._unless_inside()
        with self._changing:
            return self._paused(timeout)

    def _paused(self, timeout: float) -> bool:
        """Pause the guest; ``_changing`` is held."""
        try:
            with self._lock:
                if self.state is State.CREATED:
                    raise LifecycleError("the machine does not run yet: pause it once the guest runs")
                if self.state is not State.RUNNING:
                    return self.paused
                self._barrier.close(self._threads)
            self._stand_still(time.monotonic() + timeout)
            self.inputs.admit("pause", self._pause)
        finally:
            if self.state is State.RUNNING:  # the pause failed
                self._barrier.open()
        return self.paused

    @contextmanager
    def standing(self, timeout: float = PATIENCE) -> Iterator[bool]:
        """Keep the guest paused for the block, and let it run again afterwards if it ran before; nobody else pauses or
        resumes it meanwhile. Yields False if the run has ended. The end of the run waits for the block. Raises as
        :meth:`pause` does."""
        self._unless_inside()
        with self._changing:
            ran = self.state is State.RUNNING
            try:
                yielded = self._paused(timeout)
                with self.unpatched() if yielded else nullcontext():
                    yield yielded
            finally:
                if ran and self.paused:
                    self.inputs.admit("resume", self._resume)

    def _stand_still(self, latest: float) -> None:
        assert self._deliverer is not None
        late = self._barrier.vcpus(self._threads, latest) or self._barrier.devices(self.buses, self._deliverer, latest)
        if late is not None:
            raise TimeoutError(self._stuck(late).detail)

    @cached_property
    def guest_time(self) -> "GuestTime":
        """The guest's clocks in KVM."""
        from runner.machine.guesttime import GuestTime  # late: few runs are paused

        pit = any(isinstance(call, calls.CreatePit2) for call in self.plan.calls)
        return GuestTime(self.system, self.vm, self.vcpus, pit=pit)

    def _pause(self) -> None:
        with self._lock:
            if self.state is State.RUNNING:
                self.guest_time.stop()
                self._host_time.stop()
                self.loop.after(None, self._timed_out)
                self._life.enter(State.PAUSED)

    def resume(self) -> bool:
        """Resume a paused guest. Returns True if the guest runs now, also if it was not paused; False if the run has
        ended. Raises LifecycleError as :meth:`pause` does, and while a debugger holds the guest. Raises KvmError; the
        machine is then still paused.
        """
        self._unless_inside()
        with self._changing:
            if self.state is State.CREATED:
                raise LifecycleError("the machine does not run yet: there is nothing to resume")
            if self.held:
                raise LifecycleError("a debugger has stopped the guest: let it continue there, or detach it")
            if self.state is State.PAUSED:
                self.inputs.admit("resume", self._resume)
            return self.state is State.RUNNING

    @property
    def threads(self) -> Sequence[VcpuThread]:
        """The vCPUs' threads; none before the run."""
        return self._threads

    def hold(self, timeout: float = PATIENCE) -> bool:
        """Pause the guest for a debugger: until :meth:`release`, nobody else resumes it. Returns and raises as
        :meth:`pause` does."""
        self._unless_inside()
        with self._changing:
            self.held = self._paused(timeout)
            return self.held

    def release(self, prepare: Callable[[], None]) -> bool:
        """Let a held guest go on, after ``prepare`` has set its vCPUs up. Returns False if the run has ended. Raises
        what ``prepare`` raises, and KvmError; the guest is then still held."""
        with self._changing:
            if self.state is State.PAUSED:
                prepare()
                self.inputs.admit("resume", self._resume)
                self.held = self.paused
            return self.state is State.RUNNING

    def _resume(self) -> None:
        with self._lock:
            if self.state is State.PAUSED:
                self.guest_time.go_on()
                self._host_time.go_on()
                self._go_on()

    def kick(self) -> None:
        """Make every vCPU leave the guest for a moment, as a signal does."""
        for thread in self._threads:
            thread.kick()

    def _unless_inside(self) -> None:
        if threading.current_thread() in (*self._threads, self._deliverer):
            raise LifecycleError("a device cannot pause its own machine: the guest waits for the device")

    def _deliver(self) -> None:
        try:
            while not self.stopping.is_set():
                self.buses.deliver()
        except BaseException as error:  # otherwise vCPUs would wait forever for room in the queue
            self.buses.interpreter.restore()
            self.end(Ending("device-error", detail=f"the device thread failed: {error!r}"))

    def end(self, ending: Ending) -> None:
        """Request the end of the run; the first request decides how it ended."""
        if self.ending is None:
            self.inputs.admit("end", partial(self._end, ending), data=ending.kind.encode())

    def _end(self, ending: Ending) -> None:
        with self._lock:
            self._ends_with(ending)

    def _ends_with(self, ending: Ending) -> bool:
        """The lock is held. Returns False if the machine has ended already, or stops because the host failed.

        vCPUs leave the guest at once, so the same guest always ends at the same exit."""
        if self.state is State.ENDED:
            return False
        self.ending = ending
        self._life.enter(State.ENDED)
        self.stopping.set()
        self.loop.wake()
        for thread in self._threads:
            thread.stop()
        return True

    def _device_ends(self, device: str, kind: DeviceEnd, status: int | None = None) -> None:
        if kind not in DEVICE_ENDS:
            raise ValueError(f"a device must end a run with one of {', '.join(DEVICE_ENDS)}, not with {kind!r}")
        if status is not None and not (isinstance(status, int) and 0 <= status <= 255):
            raise ValueError(f"a device must end a run with a status from 0 to 255, not with {status!r}")
        detail = "" if status is None else f"the guest chose status {status}"
        caller = threading.current_thread()
        thread = caller if isinstance(caller, VcpuThread) else None
        if KINDS[kind].crash:
            vcpu = f"vCPU {thread.index}: " if thread is not None else ""
            detail = f"{vcpu}the guest reported its own crash to {device}" + (f"; {detail}" if detail else "")
        with self._lock:
            if self._ends_with(Ending(kind, status, detail)):
                # A queued write does not say which vCPU made it: take any of them.
                self.last = thread or next(iter(self._threads), None)

    def _device_failed(self, error: DeviceError) -> None:
        ending = Ending("backend-lost" if isinstance(error, LostError) else "device-error", detail=str(error))
        with self._lock:
            if self._ends_with(ending):
                return
            if self.ending is None or ending.detail != self.ending.detail:
                self.failures.append(ending)

    def _vcpu_ended(self, thread: VcpuThread) -> None:
        """The last call of a vCPU's thread."""
        self.buses.interpreter.restore()
        from runner.machine.exits import ending_of  # late: the guest has run

        with self._lock:
            self._running -= 1
            ending = ending_of(thread, last=self._running == 0)
            if ending is not None and self._ends_with(ending):
                self.last = thread

    def counts(self) -> list[list[int]]:
        """Exits by KVM_EXIT_* number, for each vCPU."""
        return [thread.counts for thread in self._threads]

    def alive(self) -> bool:
        """Whether a thread still uses the machine, which then must not be closed."""
        return any(thread is not None and thread.running for thread in (*self._threads, self._deliverer))

    def close(self) -> None:
        """Close every descriptor and unmap the guest's memory."""
        self._resources.close()


def _virtual(plan: Plan, memory: GuestMemory) -> "VirtualTime | None":
    """The plan's virtual time; None: the guest has the host's."""
    if plan.time.kind == "host":
        return None
    from runner.machine.virtual import VirtualTime  # late: few specs have it

    return VirtualTime(plan, memory)


def _nobody(level: bool) -> None:
    """No processor takes interrupts from a controller of vmrun's own."""


def _print(outputs: Sequence[Callable[[bytes], None]], port: int, data: bytes) -> None:
    outputs[port](data)
