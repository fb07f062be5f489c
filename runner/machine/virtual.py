"""Virtual time on the Python side: the clock of the devices, their interrupts, and what the vCPU loop asks for.

While the guest runs, everything here runs in the vCPU's thread, between an exit and the next entry. So it happens at
the same place of the guest's run each time.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.devices.device import DeviceError
from runner.kvm.vcpu import VCPU
from runner.machine.interrupts import Unconnected
from runner.memory import GuestMemory
from runner.native import _native
from vmspec.plan.plan import Plan

if TYPE_CHECKING:
    from runner.devices.i8259 import I8259
    from runner.machine.bus import Buses
    from runner.machine.vcpu import VcpuThread

ffi, lib = _native.ffi, _native.lib

PATIENCE = 1 << 18  # timers that do not wake a halted guest: it has masked what it waits for


class VirtualClock:
    """The guest's time (the :class:`runner.devices.services.Clock` protocol). It stands still while the machine is
    paused, because the guest then makes no exits."""

    def __init__(self, words: "_native.VirtualTimePointer") -> None:
        self._words = words

    def monotonic(self) -> int:
        """ns since the machine started."""
        return int(self._words.now)

    def realtime(self) -> int:
        """The same: a machine with virtual time has no date but that of its RTC."""
        return int(self._words.now)


class SavedTime(NamedTuple):
    """The virtual time of a machine that stands still: the fields of ``struct virtual_time`` that follow from nothing
    else, then those of ``struct kvm_run``, whose exit may not have had all its consequences; and whether the vCPU goes
    step by step behind an STI."""

    now: int
    exits: int
    tsc_state: int
    open: int
    halted: int
    ticked: int
    taken: int
    vector: int
    looked: int
    fruitless: int
    request_interrupt_window: int
    ready_for_interrupt_injection: int
    if_flag: int
    exit_reason: int
    stepping: bool


WORDS, RUN = SavedTime._fields[:10], SavedTime._fields[10:-1]


class VirtualTime:
    """The virtual time of a machine's run. ``words`` are what the vCPU loop has of it."""

    steps = False  # the vCPU begins step by step behind an STI

    def __init__(self, plan: Plan, memory: GuestMemory) -> None:
        self._memory = memory
        self.words = ffi.new("struct virtual_time *", {"step": plan.time.step, "deadline": lib.VIRTUAL_NEVER})
        self.words.patience = PATIENCE
        if (counter := plan.device("tsc")) is not None:
            self.words.tsc_port = counter.options["port"]
            self.words.tsc_step = plan.time.tsc_step
            self.words.tsc_state = tsc_state(plan.time.seed)
        self.words.memory = memory.table
        self.clock = VirtualClock(self.words)
        self._controller = [device.kind for device in plan.devices].index("i8259")
        self._names = [device.name for device in plan.devices]
        self._buses: Buses
        self._thread: int | None = None  # the vCPU's, once it runs
        self._every = 0
        self._examine: Callable[[int], None]

    def save(self, vcpu: VCPU, stepping: bool) -> SavedTime:
        """What it is now; the vCPU stands still."""
        words = {name: int(getattr(self.words, name)) for name in WORDS}
        return SavedTime(**words, **{name: int(getattr(vcpu.run, name)) for name in RUN}, stepping=stepping)

    def load(self, saved: SavedTime, vcpu: VCPU) -> None:
        """Continue from there, once the devices have been loaded."""
        for name in WORDS:
            setattr(self.words, name, getattr(saved, name))
        for name in RUN:
            setattr(vcpu.run, name, getattr(saved, name))
        self.steps = saved.stepping

    @property
    def in_guest(self) -> bool:
        """Whether the vCPU is in the guest: all that its last exit has caused is done."""
        return not self.words.open

    def each(self, exits: int, examine: Callable[[int], None]) -> None:
        """Call ``examine`` in the vCPU's thread after each so many exits of the guest, with their number. All that they
        have caused is done then, and the guest has not been entered again."""
        self._every = self.words.examine = exits
        self._examine = examine

    def connect(self, buses: "Buses") -> None:
        """Use these buses' devices and timers."""
        self._buses = buses
        buses.alarm, buses.ask, buses.listens = self.alarm, self.ask, self.listens

    def alarm(self, due: int | None) -> None:
        """The next timer is due then, on the clock; None: none runs."""
        self.words.deadline = lib.VIRTUAL_NEVER if due is None else due

    def ask(self) -> None:
        """Input waits for the guest's next exit."""
        self.words.asked = 1

    def listens(self, sources: bool) -> None:
        """Whether input may still come."""
        self.words.listens = sources

    def comes(self) -> None:
        """Input comes now. If a halted guest has waited for it, where no timer lets time pass, it takes a step: so its
        time says what had happened before."""
        if self.words.waited:
            self.words.waited = 0
            self.words.now += self.words.step

    def nmi(self, vcpu: VCPU) -> None:
        """Give the guest a non-maskable interrupt, in the vCPU's thread. Raises KvmError."""
        vcpu.nmi()
        self.words.halted = 0

    def output(self, level: bool) -> None:
        """The interrupt controller's output."""
        self.words.pending = level

    def line(self, device: int, irq: int | None) -> "Wire | Unconnected":
        """The interrupt of the device with that index."""
        return Unconnected() if irq is None or device == self._controller else Wire(partial(self._drive, device, irq))

    def _drive(self, device: int, irq: int, level: bool) -> None:
        """Raises DeviceError if that is not where the guest's exit is answered."""
        if self._thread not in (None, threading.get_ident()):  # None: as a state is loaded
            message = "interrupts in a thread of the host's, which comes at another moment in each run: with virtual "
            message += "time, a device interrupts in read, write and tick, and in written if it asks for flush_at_once"
            raise DeviceError(f"{self._names[device]} {message}")
        with self._buses.holding(self._controller) as controller:
            cast("I8259", controller).set_line(irq, level)

    # What the vCPU loop asks for

    def begin(self) -> None:
        """The calling thread is the vCPU's."""
        self._thread = threading.get_ident()
        if self._buses.dma is not None:
            self._buses.dma.begin()

    def tick(self) -> None:
        """Give devices the input that waits, and tick those whose time has come."""
        self.words.asked = 0
        self._buses.tick()

    def examine(self) -> None:
        """Have somebody look at the guest's state."""
        self._examine(int(self.words.exits))
        self.words.examine += self._every

    def replay(self, loop: "_native.VcpuPointer", vcpu: VCPU) -> bool:
        """Compare an exit with a recording. This one has none."""
        raise NotImplementedError

    def trapped(self, thread: "VcpuThread") -> bool:
        """Take a debugger's stop that is to be seen in the vCPU's thread. Nobody asks for it here."""
        raise NotImplementedError

    def interrupt(self, vcpu: VCPU) -> None:
        """Give the guest the controller's interrupt at its next entry. Raises KvmError."""
        with self._buses.holding(self._controller) as controller:
            vector = cast("I8259", controller).acknowledge()
        vcpu.interrupt(vector)
        self.words.vector = vector


def tsc_state(seed: int) -> int:
    """The state from which the steps of reads of the TSC follow: any number but 0."""
    import hashlib  # late: few machines have it

    return int.from_bytes(hashlib.sha256(f"tsc {seed}".encode()).digest()[:8], "little") | 1


class Wire:
    """A device's line into the machine's own interrupt controller."""

    def __init__(self, drive: "partial[None]") -> None:
        self._drive = drive
        self._level = False

    def set(self, level: bool) -> None:
        """Drive the line."""
        if level != self._level:
            self._drive(level)
            self._level = level

    def pulse(self) -> None:
        """Pulse the line."""
        for level in (False, True, False):
            self.set(level)

    def eventfd(self) -> int | None:
        """None: no other thread or process can interrupt."""
        return None
