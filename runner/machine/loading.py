"""Loads the guest's memory in a thread of its own. Reading images needs no Python, so the rest of the start
continues."""

import threading
from collections.abc import Callable
from pathlib import Path

from runner import boot
from runner.boot import Images
from runner.kvm.errors import HostError
from runner.memory import GuestMemory, GuestMemoryError
from runner.x86.state import State
from vmspec.host.threads import Worker
from vmspec.plan.plan import Plan
from vmspec.schema.units import format_size

Load = Callable[[Plan, GuestMemory, Images], State]


class Loader(Worker):
    """Loads the plan's placements into ``memory``, by ``load``; :meth:`state` waits for it."""

    def __init__(self, plan: Plan, load: Load = boot.load) -> None:
        super().__init__("loader")
        self._load = load
        self.images = Images(plan.files)
        try:
            self.memory = GuestMemory(plan.slots, plan.memory)
        except GuestMemoryError as error:
            self.images.close()
            raise HostError(str(error)) from error
        try:
            self._map(plan)
        except BaseException:
            self.close()
            raise
        self._plan = plan
        self._loaded = threading.Event()
        self._state: State | None = None
        self._error: Exception | None = None
        try:
            self.start()
        except OSError:
            self.close()
            raise

    def _map(self, plan: Plan) -> None:
        for slot in plan.mapped:
            assert slot.path is not None
            try:
                self.memory.add(slot.start, slot.size, self.images.descriptor(slot.path), slot.read_only)
            except OSError as error:
                owners = [
                    index for index, device in enumerate(plan.devices) if device.options.get("start") == slot.start
                ]
                key = f"device[{owners[0]}].path" if owners else "boot.firmware"
                what = f"{slot.path} ({format_size(slot.size)}) cannot be mapped into the guest's memory"
                raise HostError(f"{key}: {what}: {error.strerror}") from error

    def work(self) -> None:
        """Load; :meth:`state` raises an error that happened here."""
        try:
            self._state = self._load(self._plan, self.memory, self.images)
            self.memory.ready()
        except GuestMemoryError as error:
            self._error = HostError(str(error))
        except Exception as error:
            self._error = error
        finally:
            self._loaded.set()

    def state(self) -> State:
        """The first vCPU's register state, once everything is loaded. Raises what :func:`runner.boot.load` raises."""
        self._loaded.wait()
        if self._error is not None:
            raise self._error
        assert self._state is not None
        return self._state

    def symbols(self) -> list[Path]:
        """The open files with the guest's symbols, the better one first."""
        return [path for name in ("symbols", "kernel") if (path := self.images.reopened(name)) is not None]

    def close(self) -> None:
        """Wait for the thread, unmap the memory and close the files."""
        try:
            self.outlast()
        finally:
            self.memory.close()
            self.images.close()
