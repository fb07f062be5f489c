"""The host's ends of devices' ports: what they print to, and what they read."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from operator import methodcaller
from pathlib import Path

from runner.backends.input import Input
from runner.backends.terminal import HELP, Raw, terminal_size
from runner.devices.virtio.net import FRAME
from runner.machine.files import Files
from runner.machine.machine import Machine
from runner.session.console import Console, ConsoleClosed, Output
from runner.session.recording import Recording
from runner.session.taps import Tap
from vmspec.plan.plan import HostEnd, Plan
from vmspec.trace.inputs import SIZE


class Ends:
    """Those of one run. ``input`` and ``output`` are the descriptors for "stdin" and "stdout". ``failed`` is called if
    an output cannot be written, ``command`` with the letters of the terminal's escape keys. ``closing`` closes the
    outputs. With ``tapped``, clients can ask for consoles."""

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        recording: Recording,
        files: Files,
        input: int | None,
        output: int | None,
        console: Console,
        failed: Callable[[ConsoleClosed], None],
        command: Callable[[str], None],
        closing: ExitStack,
        tapped: bool,
    ) -> None:
        self._plan, self._machine, self._recording, self._files = plan, machine, recording, files
        self._input, self._output, self._console = input, output, console
        self._failed, self._command, self._closing, self._tapped = failed, command, closing, tapped
        self.ports: dict[str, Console] = {}  # of named ports, what they print
        self.taps: dict[tuple[int, int], Tap] = {}  # by device and port, if clients can ask for consoles
        self._readers: dict[tuple[int, int], Input] = {}  # the same
        self._sizes: dict[int, tuple[int, int]] = {}  # of the devices' terminals: columns and rows
        self._standard = self._opened(output) if output is not None else None  # the descriptor of "stdout"

    # Outputs

    def printer(self, index: int, port: int) -> Callable[[bytes], None]:
        """What a port of a device prints to."""
        end = self._plan.devices[index].ends[port]
        console = self._text(end) if end.name else self._console
        write = self._recording.printer(index, port, console.printer(self._sink(index, end)))
        if not self._tapped:
            return write
        tap = self.taps[index, port] = Tap()
        return tap.printer(write)

    def _text(self, end: HostEnd) -> Console:
        """What keeps the text of a named port; what is printed to standard output is text of the console too."""
        if end.output == "stdout":
            return self._console
        return self.ports.setdefault(end.name, Console(None, self._failed))

    def _sink(self, index: int, end: HostEnd) -> Output | None:
        match end.output:
            case "stdout":
                if self._output is not None:
                    self._files.standard("standard output", self._output, writes=True)
                return self._standard
            case "none":
                return None
            case path:
                return self._opened(self._files.open(f"device[{index}]{end.key}.output", Path(path), writes=True))

    def _opened(self, fd: int) -> Output:
        output = Output(fd, self._machine.stopping)
        self._closing.callback(output.close)
        return output

    def help(self) -> None:
        """Print what the escape keys do. A reader that stalls must not hold up the loop."""
        self._machine.buses.call(self._help)

    def _help(self) -> None:
        if self._standard is None:
            return
        try:
            self._standard.write(HELP)
        except ConsoleClosed as error:
            self._failed(error)

    # Inputs

    def open_inputs(self, stack: ExitStack, networks: Mapping[int, int]) -> Raw:
        """Open what the devices read, which ``stack`` closes. ``networks`` are sockets with frames for devices, by
        their indexes. Return the terminal, to be made raw while the guest runs."""
        raw = Raw(-1)
        ends = [
            (index, port, planned.name, end)
            for index, planned in enumerate(self._plan.devices)
            for port, end in enumerate(planned.ends)
        ]
        for index, port, name, end in ends:
            fd: int | None
            match end.input:
                case "none":
                    continue
                case "stdin":
                    fd = self._input
                    if fd is not None:
                        self._files.standard("standard input", fd, writes=False)
                case path:
                    fd = self._files.open(f"device[{index}]{end.key}.input", Path(path), writes=False)
                    of_port = f"{name}{f'.{end.name}' * bool(end.name)}/input"
                    self._machine.loader.images.keep(of_port, Path(path), fd)
            if fd is None:
                continue
            if fd == self._input:
                raw = Raw(fd)
                if os.isatty(fd) and not raw.active:
                    continue  # another session's terminal
            terminal = raw if fd == self._input and raw.active else None
            guest = self._machine.buses.guest(index, port)
            reader = self._readers[index, port] = Input(fd, terminal, guest, self._command, self._machine.loop)
            stack.callback(reader.stop)
        for index, source in networks.items():
            fd = os.dup(source)  # the device closes its own before the end of the run
            stack.callback(os.close, fd)
            guest, loop = self._machine.buses.guest(index), self._machine.loop
            reader = self._readers[index, 0] = Input(fd, None, guest, self._command, loop, piece=FRAME)
            stack.callback(reader.stop)
        return raw

    def begin(self) -> None:
        """Read from now on."""
        for reader in self._readers.values():
            reader.start()

    def end(self) -> None:
        """Read no more."""
        for reader in self._readers.values():
            reader.stop()

    def is_read(self, place: tuple[int, int]) -> bool:
        """Whether the run itself reads input for a port of a device."""
        reader = self._readers.get(place)
        return reader is not None and reader.open

    # Sizes

    def follow_sizes(self) -> None:
        """Tell each virtio console the size of its terminal, now and whenever it changes; with virtual time only if
        that is recorded."""
        if self._machine.time is not None and not self._plan.trace.inputs:
            return
        self._resize(lambda errand: errand())  # the guest does not run yet
        self._machine.loop.each_wake(partial(self._resize, self._machine.buses.enter))  # SIGWINCH wakes it

    def _resize(self, run: Callable[[Callable[[], None]], None]) -> None:
        buses = self._machine.buses
        for index, planned in enumerate(self._plan.devices):
            ends = planned.ends[0]
            named = ((ends.output, "stdout", self._output), (ends.input, "stdin", self._input))
            size = next((size for name, word, fd in named if name == word and (size := terminal_size(fd))), None)
            if planned.transport and size and size != self._sizes.get(index):
                self._sizes[index] = size
                columns, rows = size
                resized = methodcaller("resized", columns, rows)
                run(partial(buses.command, index, f"{SIZE}{columns}x{rows}", resized))
