"""What a virtio device is by any transport: status, features, queues, configuration (virtio 1.2, 2 and 3)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from runner.devices.services import Chain, Late, Services
from runner.devices.state import State, StateError, bits, flag, number, number_or_none, parts
from runner.devices.virtio.device import Host, VirtioDevice
from vmspec.registers import virtio as R

STATUS = R.ACKNOWLEDGE | R.DRIVER | R.DRIVER_OK | R.FEATURES_OK | R.FAILED  # bits that the driver sets
WORD = (1 << 32) - 1


class QueueState(State):
    """A queue as the driver has set it up, and how many of its chains have been taken and put back."""

    size: int = number(0, WORD)
    ready: bool = flag()
    descriptors: int = bits((1 << 64) - 1)
    driver: int = bits((1 << 64) - 1)
    device: int = bits((1 << 64) - 1)
    taken: int = bits(0xFFFF)
    put: int = bits(0xFFFF)


class CommonState(State):
    """Status, features, selectors and queues."""

    VERSION = 2

    status: int = bits(STATUS | R.NEEDS_RESET)
    driver_features: int = bits((1 << 64) - 1)
    device_features_select: int = number(0, WORD)
    driver_features_select: int = number(0, WORD)
    queue_select: int = number(0, WORD)
    generation: int = bits(0xFF)
    unserved: int = bits((1 << 64) - 1)  # by bit: queues that have more to serve
    left: int | None = number_or_none(0, 1 << 62)  # ns; as runner.devices.services.Late has it, and what follows
    served: bool = flag()
    told: int = bits((1 << 64) - 1)
    queues: tuple[QueueState, ...] = parts(QueueState, 64)


class Setup:
    """A queue as the driver sets it up."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.size, self.ready = longest, False
        self.descriptors = self.driver = self.device = 0


class Interrupts(Protocol):
    """How the driver is interrupted."""

    def used(self, queue: int) -> None:
        """Chains were put back into a queue."""

    def configured(self) -> None:
        """The configuration or the status has changed."""


class Common:
    """A device's state that is the same by any transport. Its registers' names are the transport's business.

    A driver that breaks a queue stops its device: the status says NEEDS_RESET (2.1.2), and no chain is taken until the
    driver resets the device. ``notice`` reports the reason.
    """

    def __init__(
        self, device: VirtioDevice, services: Services, interrupts: Interrupts, notice: Callable[[str], None]
    ) -> None:
        self.device = device
        self._clock, self._after = services.clock, services.after
        self._interrupts = interrupts
        self._notice = notice
        self.offered = R.VERSION_1 | device.ring_features | device.features
        kinds = dict(enumerate(device.queue_kinds))
        self.queues = [services.virtqueue(n, kinds.get(n, "other")) for n in range(len(device.queue_sizes))]
        self._again: list[int] = []  # queues to serve in the next tick
        self._due: int | None = None  # when the device wants a tick
        self._reached = True
        self._clear()
        device.connect(
            Host(
                queues=self.queues,
                memory=services.memory,
                clock=services.clock,
                after=self._request_tick,
                output=services.output,
                port_output=services.port_output,
                random=services.random,
                serve=self._serve,
                ring=self._look,
                interrupt=self._interrupt,
                broken=self._broken,
                reconfigured=self._reconfigured,
                notice=notice,
                held=self._held,
            )
        )
        native = device.native()
        self.data_path = services.data_path(native, self.queues) if native is not None else None
        self._rests = True

    def _clear(self) -> None:
        self.status = 0
        self.driver_features = 0
        self.device_features_select = self.driver_features_select = self.queue_select = 0
        self.setups = [Setup(size) for size in self.device.queue_sizes]
        self.generation = 0

    # Status and features

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The data path rests meanwhile. It rests whenever there is no driver, something is broken, or the device may
        not access memory."""
        if self._rest():
            try:
                yield
            finally:
                self._go_on()
        else:
            yield

    def _rest(self) -> bool:
        """Let the data path rest; True: it did not yet."""
        if self.data_path is None or self._rests:
            return False
        self.data_path.hold()
        self._rests = True
        return True

    def _go_on(self) -> None:
        if self.data_path is not None and self._rests and self.running and self._reached:
            self._rests = False
            self.data_path.release()

    def reset(self) -> None:
        """The driver, or the machine, resets the device. No chain that was taken before is answered after."""
        with self._held():
            for queue in self.queues:
                queue.stop()
            self._again.clear()
            self._request_tick(None)
            self._clear()
            self.device.reset()

    def set_status(self, value: int) -> None:
        """The driver adds bits to the status (2.1.1). A transport makes a reset of 0."""
        added = value & STATUS & ~self.status
        if self.driver_features & ~self.offered or not self.driver_features & R.VERSION_1:
            added &= ~R.FEATURES_OK  # the driver reads back that this set does not work (2.2.2, 3.1.1)
        if not (self.status | added) & R.FEATURES_OK:
            added &= ~R.DRIVER_OK
        self.status |= added
        if added & R.FEATURES_OK:
            self.device.negotiated(self.driver_features)
        if added & R.DRIVER_OK:
            self.device.begin(self.driver_features)
            for index, setup in enumerate(self.setups):
                if setup.ready and self.running:
                    self._start(index)
            for index in range(len(self.queues)):
                self._look(index)  # it may have notified the queue before it was ready
            self._go_on()

    def device_features(self) -> int:
        """The selected half of what is offered."""
        return _half(self.offered, self.device_features_select)

    def selected_driver_features(self) -> int:
        """The selected half of what the driver has accepted."""
        return _half(self.driver_features, self.driver_features_select)

    def set_driver_features(self, value: int) -> None:
        """The driver accepts features of the selected half; none once they are settled (3.1.1)."""
        if self.driver_features_select < 2 and not self.status & R.FEATURES_OK:
            shift = 32 * self.driver_features_select
            self.driver_features = self.driver_features & ~(WORD << shift) | value << shift

    @property
    def running(self) -> bool:
        """Whether there is a driver, and nothing is broken."""
        return self.status & (R.DRIVER_OK | R.NEEDS_RESET | R.FAILED) == R.DRIVER_OK

    def _broken(self, why: str) -> None:
        if not self.status & R.NEEDS_RESET:
            with self._held():
                self.status |= R.NEEDS_RESET
                for queue in self.queues:  # what the device holds is not put back
                    queue.stop()
            self._notice(f"the guest's driver must reset it: {why}")
            if self.status & R.DRIVER_OK:
                self._interrupts.configured()

    # Queues

    @property
    def selected(self) -> Setup | None:
        """The queue that the driver has selected, None: there is no such queue."""
        return self.setups[self.queue_select] if self.queue_select < len(self.setups) else None

    def set_ready(self, ready: bool) -> None:
        """The driver has set up the selected queue, or takes it back."""
        setup = self.selected
        if setup is None or setup.ready == ready:
            return
        setup.ready = ready
        with self._held():
            if not ready:
                self.queues[self.queue_select].stop()
            elif self.running:
                self._start(self.queue_select)
                self._look(self.queue_select)

    def _start(self, index: int) -> bool:
        setup = self.setups[index]
        if setup.size > setup.longest:
            why: str | None = f"its size is more than {setup.longest}"
        else:
            areas = setup.descriptors, setup.driver, setup.device
            why = self.queues[index].start(setup.size, *areas, self.driver_features)
        if why is not None:
            self._broken(f"queue {index}: {why}")
        return why is None

    def reach(self, reached: bool) -> None:
        """Whether the device may access memory now, which a transport can forbid. Notifications wait meanwhile."""
        before, self._reached = self._reached, reached
        if before and not reached:
            self._rest()
        elif reached and not before:
            for index in range(len(self.queues)):
                self._look(index)
            self._go_on()

    def kicked(self, index: int) -> None:
        """The driver notifies a queue."""
        if index < len(self.queues) and self.queues[index].running:
            if self.data_path is None:
                self.queues[index].tell()
            self._look(index)

    def _look(self, index: int) -> None:
        """The driver may have made chains available. C serves the queue, or the device thread does in a tick: whoever
        hands over the notification may be a vCPU, and hands over those of all devices."""
        if self.running and self.queues[index].running:
            if self.data_path is not None:
                self._ring(index)
            else:
                self._serve_later(index)

    def _ring(self, index: int) -> None:
        assert self.data_path is not None
        self.data_path.ring(index)
        if (left := self._left()) is not None:
            self._after(left)

    def _serve_later(self, index: int) -> None:
        if index not in self._again:
            self._again.append(index)
        self._after(0)

    def _notify(self, index: int) -> None:
        if self.running and self._reached and self.queues[index].running:
            self.device.notified(index)
            self._check()

    def _check(self) -> None:
        for index, queue in enumerate(self.queues):
            if (why := queue.fault) is not None:
                self._broken(f"queue {index}: {why}")

    def _serve(
        self, index: int, answer: Callable[[Chain], int | None], more: Callable[[], bool] = lambda: True, /
    ) -> None:
        """Answer as many chains as the queue is long; a chain without an answer is the device's. A driver that always
        adds more keeps no other device waiting. While there is no more to answer with, the driver need not tell of
        chains."""
        queue = self.queues[index]
        queue.busy()
        for _ in range(queue.size):
            if not more() or (chain := queue.take()) is None:
                break
            if (written := answer(chain)) is not None:
                queue.put(chain, written)
        if more() and queue.wait():
            self._serve_later(index)
        self._interrupt(index)

    def _interrupt(self, index: int) -> None:
        if self.queues[index].interrupts():
            self._interrupts.used(index)
        self._check()

    # Time and configuration

    def _request_tick(self, delay: int | None) -> None:
        self._due = None if delay is None else self._clock.monotonic() + max(0, delay)
        self._after(self._left())

    def _left(self) -> int | None:
        """The time until the first tick that something waits for, None: nothing does."""
        if self._again:
            return 0
        waiting = (self._due, None if self.data_path is None else self.data_path.due)
        due = min((each for each in waiting if each is not None), default=None)
        return None if due is None else max(0, due - self._clock.monotonic())

    def tick(self) -> None:
        """Serve what is left to serve, and pass on a tick that the device has requested."""
        if self.data_path is not None:
            self._check()
            self.device.troubled()
            for index in self.data_path.completed():
                self._interrupt(index)
        again, self._again = self._again, []
        for index in again:
            self._notify(index)
        if self._due is not None and self._due <= self._clock.monotonic():
            self._due = None
            self.device.tick()
            self._check()
        if (left := self._left()) is not None:
            self._after(left)

    def read_configuration(self, offset: int, size: int) -> int:
        """Bytes of the configuration space; those beyond its end are 0."""
        return int.from_bytes(self.device.configuration()[offset : offset + size], "little")

    def write_configuration(self, offset: int, size: int, value: int) -> None:
        """The driver writes to the configuration space; an access that leaves it has no effect."""
        if self.status & R.DRIVER and offset + size <= len(self.device.configuration()):
            self.device.configure(offset, value.to_bytes(size, "little"))
            self._check()

    def _reconfigured(self) -> None:
        self.generation = self.generation + 1 & 0xFF
        if self.status & R.DRIVER_OK:
            self._interrupts.configured()

    # Saving

    def save(self) -> CommonState:
        """The state of what is common; the device's own state is beside it. A queue that does not run has no progress:
        it begins anew once the driver has reset the device."""
        with self._held():
            return self._saved()

    def _saved(self) -> CommonState:
        running = self.running
        late = self.data_path.save() if self.data_path is not None and running else Late()
        holds = self.device.holds  # what a device holds of these queues it takes again
        unserved = {*self._again, *(n for n in holds if self.queues[n].progress()[0] != self.queues[n].progress()[1])}
        return CommonState(
            status=self.status,
            driver_features=self.driver_features,
            device_features_select=self.device_features_select,
            driver_features_select=self.driver_features_select,
            queue_select=self.queue_select,
            generation=self.generation,
            unserved=sum(1 << index for index in unserved) if running else 0,
            left=late.left,
            served=late.served,
            told=late.told,
            queues=tuple(
                _saved(setup, self._progress(index) if running else (0, 0)) for index, setup in enumerate(self.setups)
            ),
        )

    def _progress(self, index: int) -> tuple[int, int]:
        taken, put = self.queues[index].progress()
        return (put, put) if index in self.device.holds else (taken, put)

    def load(self, state: CommonState, device: State) -> None:
        """Continue from a saved state, and the state of the device. Raises StateError."""
        if len(state.queues) != len(self.queues):
            raise StateError(f"the saved state has {len(state.queues)} queues; this device has {len(self.queues)}")
        settled, ready = state.status & R.FEATURES_OK, state.status & R.DRIVER_OK
        if settled and (unknown := state.driver_features & ~self.offered):
            raise StateError(f"the saved state has the features {unknown:#x}, which this device does not offer")
        if (settled and not state.driver_features & R.VERSION_1) or (ready and not settled):
            raise StateError(f"the saved state has the status {state.status:#x} without its features")
        self.status, self.driver_features = state.status, state.driver_features
        self.device_features_select = state.device_features_select
        self.driver_features_select = state.driver_features_select
        self.queue_select, self.generation = state.queue_select, state.generation
        for index, saved in enumerate(state.queues):
            setup = self.setups[index]
            setup.size, setup.ready = saved.size, saved.ready
            setup.descriptors, setup.driver, setup.device = saved.descriptors, saved.driver, saved.device
            self.queues[index].stop()
        if settled:
            self.device.negotiated(self.driver_features)
        if self.running:
            self.device.begin(self.driver_features)
        self.device.load(device)
        if not self.running:
            return
        started = [index for index, saved in enumerate(state.queues) if saved.ready and self._start(index)]
        for index in started:
            self.queues[index].resume(state.queues[index].taken, state.queues[index].put)
        if self.data_path is not None and not self.data_path.load(Late(state.left, state.served, state.told)):
            for index in started:
                self._ring(index)  # it serves whatever is there
        self._again = [index for index in range(len(self.queues)) if state.unserved >> index & 1]
        if (left := self._left()) is not None:
            self._after(left)
        self._go_on()


def _saved(setup: Setup, progress: tuple[int, int]) -> QueueState:
    taken, put = progress
    return QueueState(
        size=setup.size,
        ready=setup.ready,
        descriptors=setup.descriptors,
        driver=setup.driver,
        device=setup.device,
        taken=taken,
        put=put,
    )


def _half(value: int, select: int) -> int:
    """The lower (0) or upper (1) half of 64 bits; others are 0."""
    return value >> 32 * select & WORD


def set_half(value: int, offset: int, half: int) -> int:
    """64 bits with the half replaced that lies at this offset of a register pair: the lower at 0, the upper at 4."""
    shift = 32 if offset & 4 else 0
    return value & ~(WORD << shift) | half << shift
