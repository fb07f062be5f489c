"""Going back in a replay: it returns to a checkpoint, and goes on to the place that is looked for.

The beginning of the recording is the first checkpoint. Whoever has gone back once does it again nearby, so a way to a
place leaves checkpoints before that place.

A place is a number of exits, and a number of single steps after the last of them; an instruction that makes an exit
ends its step with it. Searches run in the vCPU's thread. They are generators: each ``yield`` lets the guest go on until
its next exit, which has been compared and answered then, or the next stop of KVM's debugging.
"""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from runner.kvm.ioctl import call, ffi, lib
from runner.kvm.saved import part
from runner.kvm.vcpu import VCPU
from runner.machine.machine import Machine
from runner.machine.vcpu import VcpuThread
from runner.memory import GuestMemory
from runner.native import _native
from runner.replay.checkpoint import Checkpoint, Here
from runner.replay.comparing import Comparison
from runner.replay.recording import Recording
from runner.x86.gates import handler

# Where struct kvm_vcpu_events of KVM says that an NMI has been injected or waits, and that an interrupt has been
# injected, with its vector.
NMI, INTERRUPT = 12, 8

# The length of instructions at most, their prefixes, and the opcodes of those that always make an exit: INS, OUTS, IN,
# OUT, HLT (Intel SDM volume 2, 2.1.1 and A.3).
LONGEST = 15
PREFIXES = bytes((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3))
EXITING = {bytes([code]) for code in (*range(0x6C, 0x70), *range(0xE4, 0xE8), *range(0xEC, 0xF0), 0xF4)}

NEAR = 256  # exits from a place to the checkpoint before it
FAR = 16 * NEAR  # and to another one
MOST = 6  # checkpoints

Search = Generator[None, None, "Found"]
Running = Generator[None, None, None]


class Place(NamedTuple):
    """So many exits, and then so many steps."""

    exits: int
    steps: int


class LostError(Exception):
    """The place where the guest was is not on its way: it does not single-step there as it ran."""


class Found(NamedTuple):
    """What a search has found: the place, where the guest is now, and which of the conditions was met there; None: it
    is the beginning of the recording."""

    place: Place
    met: int | None = None


class Wanted(NamedTuple):
    """What to look for backwards: instructions at linear addresses, and writes to memory, whose contents ``contents``
    reads."""

    code: Sequence[int] = ()
    contents: Sequence[Callable[[], bytes]] = ()

    def changed(self, before: Sequence[bytes]) -> int | None:
        """Which of the memory has other contents than before, by its number after those of the code."""
        for index, (read, old) in enumerate(zip(self.contents, before, strict=True)):
            if read() != old:
                return len(self.code) + index
        return None

    def now(self) -> list[bytes]:
        """The contents of all of the memory."""
        return [read() for read in self.contents]


class Seeking(Comparison):
    """A replay that a debugger follows. It stops at the end of its recording."""

    def __init__(self, recording: Recording, memory: GuestMemory, until: int | None, tsc: str | None) -> None:
        super().__init__(recording, memory, until, tsc)
        self._machine: Machine
        self._read: Callable[[int, int], bytes]
        self._checkpoints: list[Checkpoint] = []  # in their order, the first at the beginning
        self._search: Search | None = None
        self._place: Place | None = Place(0, 0)  # where the guest is; None: not known
        self.found: Found | None = None  # by the search that has ended
        self.lost = False  # the search has not found where the guest was
        self.at_end = False
        self._followed = False  # by a debugger

    def attach(self, machine: Machine, read: Callable[[int, int], bytes]) -> None:
        """A debugger has come; the machine stands, for the first one at its beginning. ``read`` reads memory by linear
        address. Raises KvmError."""
        self._machine, self._read, self._followed = machine, read, True
        if not self._checkpoints:
            self._checkpoints.append(Checkpoint(machine, self.position))

    def detach(self) -> None:
        """The debugger leaves: the replay goes on, and ends with its recording."""
        self._followed = False
        if self.at_end:
            self._complete()  # to trapped()

    @property
    def _runs(self) -> VcpuThread:
        return self._machine.threads[0]

    @property
    def _vcpu(self) -> VCPU:
        return self._machine.vcpus[0]

    # The debugger's thread, while the machine is held

    def goes_on(self) -> None:
        """The guest goes on by the debugger's commands."""
        self._place, self.at_end = None, False

    def step_back(self) -> None:
        """Begin the search for the instruction before."""
        self._begin(self._step_back())

    def look_back(self, wanted: Wanted) -> None:
        """Begin the search for the last place before this one."""
        self._begin(self._look_back(wanted))

    def _begin(self, search: Search) -> None:
        self._search, self.found, self.at_end = search, None, False
        debug = self._runs.debug
        debug.asks, debug.completes = 1, 1  # the thread comes to trapped() before the guest goes on

    def give_up(self) -> None:
        """Give up the search: the guest stays where it is."""
        if self._search is not None:
            self._search, self._place = None, None
            self._runs.debug.asks = 0

    # The vCPU's thread

    def replay(self, loop: "_native.VcpuPointer", vcpu: VCPU) -> bool:
        """As :class:`Comparison` does; the end of the recording is a stop."""
        if self.finished:  # a search has run past the end
            self._search, self._place, self.lost = None, None, True
            self._complete()
            return True
        goes_on = super().replay(loop, vcpu)
        if self.mismatch is not None:
            return False
        if self._search is not None:
            self._advance()
        elif not goes_on:
            self.at_end = True
            self._complete()
        return goes_on or self._followed

    def trapped(self, thread: VcpuThread) -> bool:
        """The search goes on, or the guest has come to the end of the recording."""
        if self._search is not None:
            self._advance()
        elif self._followed:
            self._stop()
        return self._followed

    def _advance(self) -> None:
        assert self._search is not None
        try:
            next(self._search)
        except StopIteration as ended:
            self._search, self.found = None, ended.value
            self._place = self.found.place if self.found else None
            self._stop()
        except LostError:
            self._search, self._place, self.lost = None, Place(self.done, 0), True
            self._stop()

    def _stop(self) -> None:
        """Hold the vCPU, and tell the debugger."""
        self._debug(0)
        self._runs.debug.asks = 0
        self._runs.stop_for_debugger()

    def _complete(self) -> None:
        """Have KVM complete the exit, and come to :meth:`trapped` before the guest goes on."""
        self._runs.debug.asks = self._runs.debug.completes = 1

    def _debug(self, asked: int, code: Sequence[int] = ()) -> None:
        """Single steps, or breakpoints in debug registers."""
        control = sum(2 << 2 * index for index in range(len(code)))
        self._runs.set_debug(asked, (*code, *([0] * (4 - len(code))), 0, 0, 0, control | 1 << 10 if code else 0))

    # Parts of searches. Each begins and ends with the last exit complete.

    def _return(self, exits: int) -> None:
        """Go to the last checkpoint before that exit, or at it."""
        debug = self._runs.debug
        debug.completes = debug.after_sti = 0
        checkpoint = next(each for each in reversed(self._checkpoints) if each.position.done <= exits)
        checkpoint.restore(self._machine)
        self.position = checkpoint.position

    def _to(self, place: Place) -> Running:
        """Go to a place."""
        self._return(place.exits)
        yield from self._until(place.exits)
        yield from self._steps(place.steps)

    def _until(self, exits: int) -> Running:
        """Go on up to an exit, and leave checkpoints on a long way."""
        for distance in (FAR, NEAR):
            if self.done < exits - 2 * distance:
                yield from self._straight(exits - distance)
                self._keep()
        yield from self._straight(exits)

    def _straight(self, exits: int) -> Running:
        self._debug(0)
        while self.done < exits:
            yield
            if self.done == exits:
                self._complete()
                yield

    def _keep(self) -> None:
        """Leave a checkpoint here; if there are too many, the first one after the beginning goes."""
        before = [each for each in self._checkpoints if each.position.done < self.done]
        after = [each for each in self._checkpoints if each.position.done > self.done]
        self._checkpoints = [*before, Checkpoint(self._machine, self.position, before[-1]), *after]
        if len(self._checkpoints) > MOST:
            del self._checkpoints[1]

    def _steps(self, steps: int) -> Running:
        for _ in range(steps):
            yield from self._step()

    def _step(self) -> Running:
        done = self.done
        if (entry := self._entry()) is not None:
            self._debug(lib.KVM_GUESTDBG_USE_HW_BP, [entry])
        else:
            self._debug(0 if self._exits() else lib.KVM_GUESTDBG_SINGLESTEP)
        yield
        if self.done != done:  # an exit, which ends the step once it is complete; a window is no instruction's
            self._complete()
            yield

    def _entry(self) -> int | None:
        """Where the guest goes on, if it takes an interrupt first: a single step would only end after an instruction of
        the handler, or after the whole of it."""
        events = part(self._vcpu, "VCPU_EVENTS")
        if events[NMI] or events[NMI + 1]:
            vector = 2
        elif events[INTERRUPT]:
            vector = events[INTERRUPT + 1]
        else:
            return None
        return handler(self._vcpu.registers().state, self._read, vector)

    def _exits(self) -> bool:
        """Whether the next instruction is HLT, IN or OUT, which make the next exit. It needs no single step: over HLT,
        KVM's emulator would only say that it is over; and one that the exit ends may leave its trap to whatever the
        guest does next, as it does in Bochs 2.7."""
        if self.done == len(self._recording.exits):
            return False
        rip, after = self._rip(), self._recording.exits[self.done]
        if after.reason not in ("io", "hlt") or not rip <= after.rip <= rip + LONGEST:
            return False
        code = self._read(self._vcpu.registers().state.segments["cs"].base + rip, LONGEST).lstrip(PREFIXES)
        return code[:1] in EXITING

    def _here(self) -> Generator[None, None, Place]:
        """Find out where the guest is."""
        if self._place is not None:
            return self._place
        here, exits, steps = Here(self._machine), self.done, 0
        yield from self._to(Place(exits, 0))
        while not here.is_now():
            if self.done != exits:
                raise LostError
            yield from self._step()
            steps += 1
        return Place(exits, steps)

    def _length(self, exits: int) -> Generator[None, None, int]:
        """The steps from an exit to the next one."""
        steps = 0
        yield from self._to(Place(exits, 0))
        while self.done == exits:
            yield from self._step()
            steps += 1
        return steps

    # Searches

    def _step_back(self) -> Search:
        was = part(self._vcpu, "REGS")
        exits, steps = yield from self._here()
        while (exits, steps) != (0, 0):
            if not steps:
                exits -= 1
                steps = yield from self._length(exits)
            steps -= 1
            yield from self._to(Place(exits, steps))
            if part(self._vcpu, "REGS") != was:  # else the step was an exit of no instruction
                return Found(Place(exits, steps), 0)
        self._return(0)
        return Found(Place(0, 0))

    def _look_back(self, wanted: Wanted) -> Search:
        exits, steps = yield from self._here()
        found = yield from self._among(exits, steps, wanted)
        if found is None:
            last = yield from self._latest(exits, wanted)
            if last is not None:
                found = yield from self._among(last, None, wanted)
        if found is None:
            self._return(0)
            return Found(Place(0, 0))
        yield from self._to(found.place)
        return found

    def _among(self, exits: int, steps: int | None, wanted: Wanted) -> Generator[None, None, Found | None]:
        """The last place after an exit, and before so many steps (None: before the next exit), where something that is
        wanted is about to happen."""
        found, step = None, 0
        yield from self._to(Place(exits, 0))
        while self.done == exits and step != steps:
            rip, before = self._rip(), wanted.now()
            if rip in wanted.code:
                found = Found(Place(exits, step), wanted.code.index(rip))
            yield from self._step()
            if (index := wanted.changed(before)) is not None:
                found = Found(Place(exits, step), index)
            step += 1
        return found

    def _latest(self, exits: int, wanted: Wanted) -> Generator[None, None, int | None]:
        """The last exit before this one after which something that is wanted happens: that between the last checkpoint
        and here, else that between the one before and the last, and so on."""
        last = None
        while exits and last is None:
            start = max(each.position.done for each in self._checkpoints if each.position.done < exits)
            last = yield from self._latest_between(start, exits, wanted)
            exits = start
        return last

    def _latest_between(self, start: int, exits: int, wanted: Wanted) -> Generator[None, None, int | None]:
        last = None
        self._return(start)
        before = wanted.now()
        asked = lib.KVM_GUESTDBG_USE_HW_BP if wanted.code else 0
        while self.done < exits:
            done = self.done
            self._debug(asked, wanted.code)
            yield
            if self.done == done:  # a breakpoint: step over it
                last = done
                yield from self._step()
            if self.done != done:
                if wanted.changed(before) is not None:
                    last, before = done, wanted.now()
                if self.done == exits:
                    self._complete()
                    yield
        return last

    def _rip(self) -> int:
        regs = ffi.new("struct kvm_regs *")
        call(self._vcpu.fd, "KVM_GET_REGS", regs)
        return int(regs.rip)
