"""The console device (virtio 1.2, 5.3): a console, and ports with names for programs in the guest.

Without named ports it has two queues and no control queue. Host input that the guest has no buffers for waits, up to
:data:`HOST_BUFFER` bytes of each port. A port takes input once the guest has opened it: Linux discards what comes
before (drivers/char/virtio_console.c, in_intr).
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from runner.devices.device import Board
from runner.devices.services import Chain
from runner.devices.state import State, StateError, bits, flag, octets, parts
from runner.devices.virtio.device import VirtioDevice
from vmspec.registers import virtio
from vmspec.registers import virtio_console as R

HOST_BUFFER = 65536  # bytes of host input that wait, at most
PIECE = 65536  # bytes that are copied at once
MOST = 1 << 20  # bytes of text in a chain; Linux has 32 KiB, or the 1 MiB of a pipe that is spliced


class PortState(State):
    """The host's bytes that wait, and whether the guest has opened the port."""

    host: bytes = octets(HOST_BUFFER)
    open: bool = flag()


class ConsoleState(State):
    """Ports, the terminal's size, and control messages that the guest has no buffers for: port and event of each."""

    columns: int = bits(0xFFFF)
    rows: int = bits(0xFFFF)
    ports: tuple[PortState, ...] = parts(PortState, R.PORTS_MAX)
    messages: bytes = octets(2 * R.PORTS_MAX * R.EVENTS)


class Port:
    """One port; the host's end of it."""

    def __init__(self, device: "Console", number: int, name: str) -> None:
        self.name = name
        self.number = number
        self.host = bytearray()
        self.open = False
        self._device = device

    def room(self) -> int:
        """See :meth:`runner.devices.device.Device.room`."""
        return HOST_BUFFER - len(self.host)

    def receive(self, data: bytes) -> None:
        """Take input from the host."""
        self.host += data
        self._device.pump(self)


class Console(VirtioDevice):
    """The device. Port 0 is the console; ``names`` are those of the others."""

    number = virtio.CONSOLE
    state_class = ConsoleState

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._ports = [Port(self, at, name) for at, name in enumerate(("", *names))]
        self._size = 0, 0  # columns, rows
        self._messages: list[tuple[int, int]] = []  # port and event, each once
        self._control = False  # MULTIPORT is negotiated
        self.features = R.SIZE | R.EMERG_WRITE | (R.MULTIPORT if names else 0)
        self.queue_sizes = (64,) * (2 * len(self._ports) + 2 if names else 2)
        port = ("console-in", "console-out")
        self.queue_kinds = port + (("event", "control") + port * len(names) if names else ())

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "Console":
        return cls([port["name"] for port in options["ports"]])

    def ends(self) -> Sequence[Port]:
        return self._ports

    def configuration(self) -> bytes:
        return struct.pack("<HHII", *self._size, len(self._ports), 0)

    def configure(self, offset: int, data: bytes) -> None:
        if offset == R.EMERG_WR:
            self.host.output(data[:1])

    def resized(self, columns: int, rows: int) -> None:
        self._size = columns & 0xFFFF, rows & 0xFFFF
        self.host.reconfigured()
        self._send(0, R.RESIZE)

    def begin(self, features: int) -> None:
        self._control = bool(features & R.MULTIPORT)

    def notified(self, queue: int) -> None:
        if self._control and queue == R.CONTROL_IN:
            self._deliver()
        elif self._control and queue == R.CONTROL_OUT:
            self.host.serve(queue, self._told)
        elif (port := self._of(queue)) is None:
            return
        elif queue % 2:
            self.host.serve(queue, lambda chain: self._transmit(port, chain))
        else:
            self.pump(port)

    def _of(self, queue: int) -> Port | None:
        """The port of a queue; without control messages there is one."""
        if queue < R.CONTROL_IN:
            return self._ports[0]
        return self._ports[queue // 2 - 1] if self._control else None

    # What the guest sends

    def _transmit(self, port: Port, chain: Chain) -> int:
        if chain.readable > MOST:
            self.host.broken(f"port {port.number} sends {chain.readable} bytes at once, more than 1 MiB")
            return 0
        for at in range(0, chain.readable, PIECE):
            self.host.port_output(port.number, chain.read(PIECE, at))
        return 0

    def _told(self, chain: Chain) -> int:
        """A control message of the guest's. One that is cut off, or about no port, is ignored."""
        message = chain.read(R.MESSAGE)
        if len(message) < R.MESSAGE:
            return 0
        number, event, value = struct.unpack("<IHH", message)
        if event == R.DEVICE_READY and value:
            for port in self._ports:
                self._send(port.number, R.DEVICE_ADD)
        elif number < len(self._ports):
            self._about(self._ports[number], event, value)
        return 0

    def _about(self, port: Port, event: int, value: int) -> None:
        match event:
            case R.PORT_READY if value:
                if port.number == 0:
                    self._send(0, R.CONSOLE_PORT)
                    self._send(0, R.RESIZE)
                else:
                    self._send(port.number, R.PORT_NAME)
                self._send(port.number, R.PORT_OPEN)
            case R.PORT_OPEN:
                port.open = bool(value)
                self.pump(port)

    # What the guest receives

    def pump(self, port: Port) -> None:
        """Hand over the host's bytes, as far as there are buffers for them."""
        if port.open or not self._control:
            queue = R.receive_queue(port.number)
            self.host.serve(queue, lambda chain: self._received(port, chain), lambda: bool(port.host))

    @staticmethod
    def _received(port: Port, chain: Chain) -> int:
        written = chain.write(bytes(port.host[: min(chain.writable, HOST_BUFFER)]))
        del port.host[:written]
        return written

    def _send(self, port: int, event: int) -> None:
        """Send a control message once there is a buffer for it. One that waits already is not sent twice: it says what
        is true when it goes."""
        if self._control:
            if (port, event) not in self._messages:
                self._messages.append((port, event))
            self._deliver()

    def _deliver(self) -> None:
        self.host.serve(R.CONTROL_IN, self._message, lambda: bool(self._messages))

    def _message(self, chain: Chain) -> int:
        number, event = self._messages.pop(0)
        port = self._ports[number]
        message = struct.pack("<IHH", number, event, 0 if event in (R.DEVICE_ADD, R.RESIZE) else 1)
        match event:
            case R.PORT_NAME:
                message += port.name.encode()
            case R.RESIZE:
                # Linux's drivers read the rows first, and QEMU writes them so; the specification has the columns first.
                columns, rows = self._size
                message += struct.pack("<HH", rows, columns)
        return chain.write(message)

    # What the host asks

    def sysrq(self, key: str) -> None:
        """Ctrl-O and a key: Linux's driver takes them for a magic SysRq on its console (drivers/tty/hvc/hvc_console.c,
        __hvc_poll). Without room they are lost."""
        console = self._ports[0]
        if console.room() > 1:
            console.receive(b"\x0f" + key.encode())

    # Life

    def reset(self) -> None:
        self._messages.clear()
        self._control = False
        for port in self._ports:
            port.open = False

    def save(self) -> State:
        return ConsoleState(
            columns=self._size[0],
            rows=self._size[1],
            ports=tuple(PortState(host=bytes(port.host), open=port.open) for port in self._ports),
            messages=bytes(byte for message in self._messages for byte in message),
        )

    def load(self, state: State) -> None:
        assert isinstance(state, ConsoleState)
        if len(state.ports) != len(self._ports):
            raise StateError(f"the saved state has {len(state.ports)} ports; this console has {len(self._ports)}")
        messages = list(zip(state.messages[::2], state.messages[1::2], strict=False))
        if any(port >= len(self._ports) or event >= R.EVENTS for port, event in messages):
            raise StateError("the saved state has control messages of other ports or events")
        self._size = state.columns, state.rows
        self._messages = messages
        for port, saved in zip(self._ports, state.ports, strict=True):
            port.host[:] = saved.host
            port.open = saved.open
