"""What the host may ask of a running machine's devices: the power button, a break, a magic SysRq, the balloon."""

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from runner.devices.asked import asked, is_key
from runner.machine.bus import Buses
from runner.machine.lifecycle import Lifecycle, LifecycleError, State
from vmspec.plan.plan import Plan
from vmspec.trace.inputs import BREAK, POWER_BUTTON, SIZE, SYSRQ

if TYPE_CHECKING:
    from runner.devices.virtio.balloon import Balloon


class Commands:
    """The commands of one machine. The device thread carries them out, or with virtual time the vCPU's at the guest's
    next exit; a paused machine does so once it continues.

    A command that the machine has no device for raises LifecycleError. One that comes after the end of the run returns
    False."""

    def __init__(self, plan: Plan, buses: Buses, life: Lifecycle) -> None:
        self._plan, self._buses, self._life = plan, buses, life

    def power_button(self) -> bool:
        """Press the power button: the guest is asked to power off, and does as it likes."""
        return self._ask(self._device("acpi", "power button"), POWER_BUTTON, "the power button")

    def line_break(self, device: str = "") -> bool:
        """Send a break to a serial port, by default the first."""
        return self._ask(self._line(device, ("serial",)), BREAK, "a break")

    def sysrq(self, key: str, device: str = "") -> bool:
        """Press a magic SysRq key, by a console of the guest's: a serial port or a virtio console, by default the first
        serial port. Raises ValueError if it is no printable character of ASCII."""
        if not is_key(key):
            raise ValueError(f"{key!r} is no key of a magic SysRq: give one letter or digit")
        return self._ask(self._line(device, ("serial", "virtio-console")), SYSRQ + key, "a magic SysRq")

    def set_balloon(self, size: int) -> bool:
        """Ask the guest to return so much memory in all, in bytes; whole pages count. Raises ValueError if the machine
        has less memory."""
        index = self._device("virtio-balloon", "balloon")
        if not 0 <= size <= self._plan.vm.memory:
            raise ValueError(f"a balloon of {size} bytes in a machine of {self._plan.vm.memory}")
        return self._command(index, f"balloon {size}", methodcaller("set_target", size))

    def balloon(self) -> "Balloon":
        """The state of the balloon now; the guest is asked for new statistics, which a later call returns."""
        index = self._device("virtio-balloon", "balloon")
        found: Balloon = self._buses.devices[index].model().balloon()
        self._command(index, "balloon statistics", methodcaller("ask"))
        return found

    def _device(self, kind: str, what: str) -> int:
        """The index of the first device of a kind."""
        index = next((n for n, planned in enumerate(self._plan.devices) if planned.kind == kind), None)
        if index is None:
            raise LifecycleError(f"the machine has no {what}: its spec needs the device {kind}")
        return index

    def resize(self, columns: int, rows: int, device: str = "") -> bool:
        """Tell the guest the size of the terminal behind a virtio console, by default the first. Raises ValueError if
        a number does not fit into 16 bits."""
        if not (0 <= columns < 1 << 16 and 0 <= rows < 1 << 16):
            raise ValueError(f"a terminal of {columns} columns and {rows} rows")
        words = f"{SIZE}{columns}x{rows}"
        return self._ask(self._line(device, ("virtio-console",)), words, "the size of a terminal")

    def _line(self, name: str, kinds: tuple[str, ...]) -> int:
        """The index of the device of that name, by default the first device of the first kind that the spec has."""
        devices = self._plan.devices
        found = [(kinds.index(one.kind), at) for at, one in enumerate(devices) if one.kind in kinds]
        if name:
            found = [(order, at) for order, at in found if devices[at].name == name]
        if not found:
            what = f"no console {name!r}" if name else "no console"
            needed = " or ".join(kinds)
            raise LifecycleError(f"the machine has {what} that takes it: its spec needs the device {needed}")
        return min(found)[1]

    def _ask(self, index: int, words: str, what: str) -> bool:
        """A command that a replay can repeat."""
        self.repeatable(what)
        ask = asked(words)
        assert ask is not None
        return self._command(index, words, methodcaller(ask.method, *ask.arguments))

    def _command(self, index: int, text: str, what: Callable[[Any], None]) -> bool:
        with self._life.lock:
            if self._life.state is State.ENDED:
                return False
            self._buses.enter(partial(self._buses.command, index, text, what))
            return True

    def repeatable(self, what: str) -> None:
        """Raises LifecycleError if the machine has virtual time, and a replay could not repeat a command."""
        if self._plan.time.kind == "virtual" and not self._plan.trace.inputs:
            raise LifecycleError(
                f"a machine with virtual time takes {what} only if it is recorded: give trace.inputs = true"
            )
