"""Loading the guest's memory in a thread of its own: reading images takes no Python, so the rest goes on meanwhile."""

from runner import boot
from runner.kvm.errors import HostError
from runner.memory import GuestMemory
from runner.state import State
from vmspec.plan import Plan
from vmspec.threads import Worker
from vmspec.units import format_size


class Loader(Worker):
    """Loads what the plan places into ``memory``; :meth:`state` waits for it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("loader")
        try:
            self.memory = GuestMemory(plan.slots)
        except OSError as error:
            size = format_size(plan.spec.vm.memory)
            raise HostError(
                f"the host cannot map {size} of guest RAM: {error.strerror}; lower vm.memory, or raise ulimit -v"
            ) from error
        self._plan = plan
        self._state: State | None = None
        self._error: Exception | None = None
        self.start()

    def work(self) -> None:
        """Load; an error is kept for whoever waits."""
        try:
            self._state = boot.load(self._plan, self.memory)
            self.memory.enlarge_pages()
        except Exception as error:
            self._error = error

    def state(self) -> State:
        """The first vCPU's register state, once all is loaded. Raises what :func:`runner.boot.load` raises."""
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._state is not None
        return self._state

    def close(self) -> None:
        """Wait for the thread and unmap the memory."""
        try:
            self.outlast()
        finally:
            self.memory.close()
