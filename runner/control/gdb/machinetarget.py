"""The target that is a machine on KVM."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from threading import Lock

from runner.control.gdb.breakpoints import INT3, Breakpoints
from runner.control.gdb.layout import Register, registers
from runner.control.gdb.target import SIGTRAP, Stop
from runner.kvm.errors import HostError, KvmError
from runner.kvm.ioctl import lib
from runner.kvm.registerfile import RegisterFile
from runner.loop import Bell
from runner.machine.machine import Machine
from runner.machine.vcpu import VcpuThread
from runner.x86.mode import mode
from runner.x86.pagetables import page
from vmspec.registers import system as R

BREAKPOINT = 3  # the vector of INT3; the other is the debug exception's
DR6_BS = 1 << 14  # a single step (Intel SDM volume 3, 17.2.3)
PAGE = 4096
TRAPS = (1 << 4) - 1  # DR6: the debug registers that were met


class MachineTarget:
    """Implements :class:`runner.control.gdb.target.Target`. ``event`` rings when a vCPU has stopped."""

    reversible = False

    def __init__(self, machine: Machine, monitor: Callable[[str], str], notice: Callable[[str], None]) -> None:
        """The machine is held. ``notice`` says something to the user. Raises HostError if the host's KVM cannot debug
        guests, KvmError."""
        if not machine.system.check_extension("KVM_CAP_SET_GUEST_DEBUG"):
            raise HostError("this host's KVM lacks KVM_CAP_SET_GUEST_DEBUG, which a debugger needs")
        self.monitor = monitor
        self._machine, self._notice = machine, notice
        self._threads: Sequence[VcpuThread] = machine.threads
        first = machine.vcpus[0].registers().state
        self.wide = machine.plan.bits == 64 or bool(first.efer & R.EFER_LMA)
        self.registers: Sequence[Register] = registers(self.wide)
        self.breakpoints = Breakpoints(8 if self.wide else 4)
        # Virtual time: an interrupt that is due enters the guest before its next instruction, also if that is a step.
        quiet = machine.time is None and machine.system.check_extension("KVM_CAP_SET_GUEST_DEBUG2")
        self._quiet = quiet & lib.KVM_GUESTDBG_BLOCKIRQ
        self._patches: dict[int, bytes] = {}  # guest-physical addresses that have INT3, and what was there
        self._patching = Lock()
        self._injected: dict[int, int] = {}  # by vCPU: what the guest's own debugging is to get
        self._pending: list[Stop] = []  # watchpoints that have not been reported
        self.event = Bell()
        for thread in self._threads:
            thread.debug.event = self.event.fd
        machine.unpatched = self._unpatched

    @property
    def vcpus(self) -> int:
        """How many there are."""
        return len(self._threads)

    def get(self, vcpu: int, registers: Sequence[Register]) -> list[int | None]:
        """Values of registers; None: it has none. Raises KvmError."""
        file = RegisterFile(self._machine.vcpus[vcpu])
        return [None if register.place is None else file.get(register.place) for register in registers]

    def set(self, vcpu: int, values: Mapping[Register, int]) -> None:
        """Change registers. Raises KvmError."""
        file = RegisterFile(self._machine.vcpus[vcpu])
        for register, value in values.items():
            if register.place is not None and file.get(register.place) != value:
                file.set(register.place, value)
        file.store()

    def read(self, vcpu: int, address: int, size: int) -> bytes:
        """Memory by linear address; what follows the first byte that is not mapped is missing. Raises KvmError."""
        found = bytearray()
        with suppress(ValueError):
            for physical, length in self._parts(vcpu, address, size):
                found += self._machine.memory.read(physical, length)
        return bytes(found)

    def write(self, vcpu: int, address: int, data: bytes) -> bool:
        """Write memory; False, and nothing is written, if part of it is not memory that can be written. Raises
        KvmError."""
        memory, parts = self._machine.memory, list(self._parts(vcpu, address, len(data)))
        try:
            for physical, length in parts:
                memory.view(physical, length).release()
        except ValueError:
            return False
        if sum(length for _, length in parts) < len(data):
            return False
        done = 0
        for physical, length in parts:
            memory.write(physical, data[done : done + length])
            done += length
        return True

    def code(self, vcpu: int, address: int) -> int | None:
        """The guest-physical address of a byte that can be written, by its linear one. Raises KvmError."""
        for physical, length in self._parts(vcpu, address, 1):
            with suppress(ValueError):
                self._machine.memory.view(physical, length).release()
                return physical
        return None

    def _parts(self, vcpu: int, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Guest-physical addresses and lengths of a range of linear addresses, up to the first that is not mapped. A
        part is at most 4 KiB, because memory may end within a large page."""
        state, end = self._machine.vcpus[vcpu].registers().state, address + size
        while address < end and (at := page(state, self._machine.memory.read, address)) is not None:
            length = min(end - address, PAGE - address % PAGE)
            yield at.physical + address - at.linear, length
            address += length

    def describe(self, vcpu: int) -> str:
        """What a vCPU does now, for people."""
        return f"vCPU {vcpu}: {mode(self._machine.vcpus[vcpu].registers().state)}"

    # The guest goes on and stops

    def go(self, actions: Mapping[int, bool]) -> Stop | None:
        """Let vCPUs go on; those with True make one step, and those without an action are held. Returns a stop if there
        is one already, and then nothing goes on. Raises KvmError."""
        for stop in self._pending:
            if stop.vcpu in actions and any(point.request == stop.met for point in self.breakpoints.points):
                self._pending.remove(stop)
                return stop
        self._pending.clear()
        try:
            self._machine.release(lambda: self._prepare(actions))
        except KvmError:
            self._restore()
            raise
        return None

    def back(self, step: bool) -> None:
        """Go back by a step, or to the last breakpoint. Only the replay of a recording can. Raises KvmError."""
        raise NotImplementedError

    def _prepare(self, actions: Mapping[int, bool]) -> None:
        memory = self._machine.memory
        with self._patching:
            for request in self.breakpoints.patched:
                assert request.physical is not None
                if request.physical not in self._patches:  # several linear addresses may lead to the same byte
                    self._patches[request.physical] = memory.read(request.physical, 1)
                    memory.write(request.physical, INT3)
        asked = lib.KVM_GUESTDBG_USE_HW_BP if self.breakpoints.points else 0
        asked |= lib.KVM_GUESTDBG_USE_SW_BP if self.breakpoints.patched else 0
        values = self.breakpoints.registers()
        for vcpu, thread in enumerate(self._threads):
            steps = actions.get(vcpu)
            step = lib.KVM_GUESTDBG_SINGLESTEP | self._quiet if steps else 0
            thread.set_debug(asked | step, values, self._injected.pop(vcpu, 0))
            if steps is None:
                thread.hold()
            else:
                thread.release()

    def stop(self) -> bool:
        """Stop the guest; False if the run has ended. It may take as long as a device does not return, such as a
        console whose reader does not read: the guest goes on meanwhile. Raises KvmError."""
        said = False
        while True:
            try:
                if not self._machine.hold():
                    return False
                break
            except TimeoutError as error:
                if not said:
                    self._notice(f"gdb: the guest cannot be stopped yet: {error}")
                said = True
        self._restore()
        return True

    def _restore(self) -> None:
        """Take INT3 out of memory."""
        with self._patching:
            self._exchange(lambda code: (INT3, code))
            self._patches.clear()

    @contextmanager
    def _unpatched(self) -> Iterator[None]:
        """Whoever reads memory for the block finds no INT3 that is not the guest's. The guest stands still."""
        with self._patching:
            self._exchange(lambda code: (INT3, code))
            try:
                yield
            finally:
                self._exchange(lambda code: (code, INT3))

    def _exchange(self, change: Callable[[bytes], tuple[bytes, bytes]]) -> None:
        """Write the second of two bytes where the first one is, for each breakpoint: the guest may have written there
        itself."""
        memory = self._machine.memory
        for physical, code in self._patches.items():
            old, new = change(code)
            if memory.read(physical, 1) == old:
                memory.write(physical, new)

    def taken(self) -> Stop | None:
        """The stop to report; the guest stands still. None: the guest debugs itself, and gets the exception once it
        goes on."""
        found = []
        for vcpu, thread in enumerate(self._threads):
            if thread.debug.held == lib.DEBUG_STOPPED:
                if (stop := self._stop(vcpu, thread)) is not None:
                    found.append(stop)
                thread.hold()
        # A step first: it would not be seen again. A breakpoint is met again when the vCPU goes on.
        found.sort(key=lambda stop: stop.met is not None)
        self._pending += [stop for stop in found[1:] if stop.watched]
        return found[0] if found else None

    def _stop(self, vcpu: int, thread: VcpuThread) -> Stop | None:
        debug = thread.debug
        if debug.exception == BREAKPOINT:
            met, ours, theirs = self.breakpoints.at(int(debug.pc)), False, lib.KVM_GUESTDBG_INJECT_BP
        else:
            met, theirs = self.breakpoints.met(int(debug.dr6) & TRAPS), lib.KVM_GUESTDBG_INJECT_DB
            ours = bool(debug.dr6 & DR6_BS and debug.asked & lib.KVM_GUESTDBG_SINGLESTEP)
        if met is not None or ours:
            return Stop(vcpu, SIGTRAP, met)
        self._injected[vcpu] = theirs
        return None

    def leave(self) -> None:
        """Remove all breakpoints, and let the guest go on. Raises KvmError."""
        self.breakpoints.clear()
        self._pending.clear()
        self._machine.release(lambda: self._prepare(dict.fromkeys(range(self.vcpus), False)))

    def close(self) -> None:
        """The run has ended, or the guest goes on without a debugger."""
        self._machine.unpatched = nullcontext
        for thread in self._threads:
            thread.debug.event = -1
        self.event.close()
