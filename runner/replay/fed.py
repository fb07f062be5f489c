"""The guest's memory of a recording without KVM, as far as devices have read it, and what their models do to it."""

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager

from runner.kvm.errors import HostError
from runner.memory import GuestMemory, GuestMemoryError
from runner.replay.dma import Transfer
from runner.replay.modelleddma import ModelledDMA
from runner.replay.recording import Recording
from vmspec.plan.calls import Slot
from vmspec.trace import dma

SHOWN = 16  # bytes of a transfer
Difference = tuple[str, str, str]  # what, as recorded, as modelled


class Fed:
    """The memory, fed with what devices read at each exit. ``names`` are those of the devices. The writes of those that
    are ``unmodelled``, by name, are taken from the recording. Raises HostError if there is no memory for it."""

    def __init__(
        self, recording: Recording, slots: Sequence[Slot], names: Sequence[str], unmodelled: Container[str]
    ) -> None:
        try:
            self.memory = GuestMemory(tuple(slots))
        except GuestMemoryError as error:
            raise HostError(str(error)) from error
        self._names, self._unmodelled = names, unmodelled
        self._all = iter(recording.dma)
        self._next = next(self._all, None)
        self._recorded: list[Transfer] = []  # of the exit
        self._keeper = ModelledDMA(self.memory)
        self._done = self._keeper.done  # by models, at the exit

    def begin(self, exit: int) -> Iterator[Difference]:
        """Let devices find at an exit what they have read there. Where they read twice, the device may have written
        meanwhile, so the first counts."""
        self._recorded.clear()
        self._done.clear()
        while self._next is not None and self._next.exit == exit:
            self._recorded.append(self._next)
            self._next = next(self._all, None)
        yield from self._write(each for each in reversed(self._recorded) if each.direction == "read")

    @contextmanager
    def acting(self, device: int) -> Iterator[None]:
        """The model of the device with that index acts meanwhile."""
        self._keeper.begin()
        self._keeper.acts(device)
        try:
            yield
        finally:
            try:
                self._keeper.acted()
            finally:
                self._keeper.end()

    def end(self) -> Iterator[Difference]:
        """Compare what the models have done with the recording, of which the memory has the writes then."""
        acted = (*(each.device for each in self._recorded), *(self._name(each) for each in self._done))
        for name in dict.fromkeys(acted):
            recorded = [(each.direction, each.addr, each.data) for each in self._recorded if each.device == name]
            if name not in self._unmodelled:
                done = [(each.direction, each.addr, each.data) for each in self._done if self._name(each) == name]
                if recorded == done:
                    continue
                at = next((n for n, (a, b) in enumerate(zip(recorded, done, strict=False)) if a != b), None)
                at = min(len(recorded), len(done)) if at is None else at
                yield f"DMA of {name}", _text(recorded[at : at + 1]), _text(done[at : at + 1])
            yield from self._write(each for each in self._recorded if each.device == name and each.direction == "write")

    def _name(self, transfer: dma.Transfer) -> str:
        return self._names[transfer.device]

    def _write(self, transfers: Iterator[Transfer]) -> Iterator[Difference]:
        for each in transfers:
            try:
                self.memory.write(each.addr, each.data)
            except ValueError as error:
                yield f"DMA of {each.device}", f"{each.direction} of {len(each.data)} bytes", str(error)

    def close(self) -> None:
        """Unmap the memory."""
        self.memory.close()


def _text(transfers: Sequence[tuple[str, int, bytes]]) -> str:
    for direction, address, data in transfers:
        more = " …" if len(data) > SHOWN else ""
        return f"{direction} of {len(data)} bytes at {address:#x}: {data[:SHOWN].hex(' ')}{more}"
    return "none"
