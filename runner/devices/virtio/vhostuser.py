"""Devices whose queues another process serves, by vhost-user."""

from collections.abc import Mapping
from typing import Any, Protocol

from runner.devices.device import Board, LostError
from runner.devices.services import Memory, Native
from runner.devices.state import State, StateError
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio as R

QUEUE_RINGS = R.INDIRECT_DESC | R.EVENT_IDX


class BackEnd(Protocol):
    """The process. The data path rests in each call but :meth:`changed` and :meth:`configure`."""

    native: Native

    @property
    def features(self) -> int:
        """What it offers to the driver, with the features of queues."""

    @property
    def lost(self) -> str | None:
        """Why there is none any more, None: there is one."""

    @property
    def refused(self) -> str | None:
        """Why it cannot serve what the driver has set up, None: it can."""

    def changed(self) -> bool:
        """Whether the configuration has changed since the last call. Finds out whether it has gone too."""

    def configuration(self) -> bytes:
        """The configuration space, if that is the back end's."""

    def configure(self, offset: int, data: bytes) -> None:
        """The driver writes to it."""

    def begin(self, features: int, memory: Memory) -> None:
        """The driver is ready, and has accepted these features."""

    def reset(self) -> None:
        """Forget the driver. A process that was lost is started or called again."""

    def close(self) -> None:
        """End it, once it has finished what it has begun."""


class VhostUser(VirtioDevice):
    """A device of any kind. ``configuration`` is what the back end does not have; ``ends``: the run ends when the back
    end is lost, rather than the driver must reset the device, which calls it again."""

    def __init__(
        self,
        back_end: BackEnd,
        number: int,
        queue_sizes: tuple[int, ...],
        ends: bool = True,
        configuration: bytes | None = None,
        hidden: int = 0,
    ) -> None:
        self._back_end, self.number, self.queue_sizes = back_end, number, queue_sizes
        self._ends, self._configuration = ends, configuration
        self._offered = back_end.features
        self.features = self._offered & ~QUEUE_RINGS & ~hidden
        self.ring_features = self._offered & QUEUE_RINGS
        self._told = False

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "VirtioDevice":
        sizes = (options["queue-size"],) * options["queues"]
        return cls(board.backend(), options["virtio-id"], sizes, options["lost"] == "end")

    def native(self) -> Native:
        return self._back_end.native

    def configuration(self) -> bytes:
        return self._back_end.configuration() if self._configuration is None else self._configuration

    def configure(self, offset: int, data: bytes) -> None:
        if self._configuration is None:
            self._back_end.configure(offset, data)

    def begin(self, features: int) -> None:
        self._back_end.begin(features, self.host.memory)
        if self._back_end.lost is None and (missing := self._offered & ~self._back_end.features):
            self.host.broken(f"its back end, called again, lacks the features {missing:#x}")
        self._look()

    def troubled(self) -> None:
        if self._back_end.changed() and self._configuration is None:
            self.host.reconfigured()
        if (why := self._back_end.refused) is not None:
            self.host.broken(why)
        self._look()

    def _look(self) -> None:
        """Tell once of a back end that is lost."""
        lost, told = self._back_end.lost, self._told
        self._told = lost is not None
        if lost is None:
            return
        if self._ends:
            if not told:
                raise LostError(f"has no back end any more: {lost}")
        else:
            self.host.broken(lost)

    def reset(self) -> None:
        if self._back_end.lost is not None and not self._told:  # as the queues were stopped
            if self._ends:
                self._look()
            self.host.notice(f"lost its back end: {self._back_end.lost}")
        self._back_end.reset()
        self._told = self._back_end.lost is not None

    def save(self) -> State:
        if (lost := self._back_end.lost) is not None:
            raise StateError(f"its back end is lost: {lost}")
        return super().save()

    def load(self, state: State) -> None:
        """What the process knows is not saved: it goes on with the queues."""

    def close(self) -> None:
        self._back_end.close()


class FS(VhostUser):
    """A file system of the host's (5.11): the back end has no configuration space."""

    QUEUES = 2  # one for requests that must not wait, and one for the others
    SIZE = 1024  # Linux sends as many pages at once as the queue has descriptors, but for the header

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "VirtioDevice":
        configuration = options["tag"].encode().ljust(R.TAG_BYTES, b"\0") + (cls.QUEUES - 1).to_bytes(4, "little")
        return cls(board.backend(), R.FS, (cls.SIZE,) * cls.QUEUES, options["lost"] == "end", configuration)


class StoredDisk(VhostUser):
    """A disk (5.2) whose image has a format of its own."""

    SIZE = 256

    def __init__(self, back_end: BackEnd, queues: int, writeback: bool, ends: bool) -> None:
        super().__init__(back_end, R.BLOCK, (self.SIZE,) * queues, ends)
        self._writeback = writeback
        self._settle(writeback)

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "VirtioDevice":
        return cls(board.backend(), options["queues"], options["cache"] == "writeback", options["lost"] == "end")

    def _settle(self, writeback: bool) -> None:
        """Whether there is a write cache. The back end keeps what a driver has chosen, over its reset."""
        if self.features & R.BLK_CONFIG_WCE:
            self.configure(R.BLK_WRITEBACK, bytes([writeback]))

    def begin(self, features: int) -> None:
        if not features & R.BLK_FLUSH:  # the driver cannot flush (5.2.6.2)
            self._settle(False)
        super().begin(features)

    def reset(self) -> None:
        super().reset()
        self._settle(self._writeback)
