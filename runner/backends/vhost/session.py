"""A vhost-user back end from its start to its end: what vmrun asks of it."""

import select
import socket
import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager

from runner.backends.program import Program
from runner.backends.vhost.channel import Channel
from runner.backends.vhost.connection import PATIENCE, U64, Connection, PeerError
from runner.devices.services import Shared, Virtqueue
from vmspec.registers import vhostuser as V
from vmspec.registers import virtio as R

STATE = struct.Struct("<II")  # index, number
ADDRESSES = struct.Struct("<IIQQQQ")  # index, flags, descriptors, used ring, available ring, log
REGION = struct.Struct("<QQQQ")  # guest address, size, user address, offset
CONFIG = struct.Struct("<III")  # offset, size, flags
SPOKEN = V.MQ | V.REPLY_ACK | V.BACKEND_REQ | V.CONFIG | V.RESET  # features of the protocol


class Session:
    """A back end from its start to its end: the connection, and the program if vmrun has started it.

    Raises PeerError if the back end cannot serve a device with so many queues.
    """

    def __init__(self, end: socket.socket, program: Program | None) -> None:
        self._connection, self._program = Connection(end), program
        self._channel: Channel | None = None  # the back end's own messages
        self._told = False  # the back end knows the memory
        self.running: set[int] = set()  # queues that it serves
        self.protocol = 0
        self.features = 0

    def begin(self, queues: int) -> None:
        """Agree on features."""
        ask = self._connection
        ask.tell(V.SET_OWNER)
        self.features = ask.number(V.GET_FEATURES)
        if not self.features & R.VERSION_1:
            raise PeerError("is older than virtio 1.0, which vmrun's transports require")
        if self.features & V.PROTOCOL_FEATURES:
            self.protocol = ask.number(V.GET_PROTOCOL_FEATURES) & SPOKEN
            if not self.protocol & V.CONFIG:
                self.protocol &= ~V.BACKEND_REQ  # it could only tell of changes
            ask.tell(V.SET_PROTOCOL_FEATURES, U64.pack(self.protocol))
            ask.acknowledged = bool(self.protocol & V.REPLY_ACK)
        if self.protocol & V.MQ and (number := ask.number(V.GET_QUEUE_NUM)) < queues:
            raise PeerError(f"has {number} queues, not {queues}")
        if self.protocol & V.BACKEND_REQ:
            self._channel = Channel()
            with self._channel.theirs as theirs:
                ask.tell(V.SET_BACKEND_REQ_FD, descriptors=[theirs.fileno()])
        ask.patience = PATIENCE

    def watched(self) -> list[tuple[int, int]]:
        """Descriptors that tell of something, each with the events for epoll: replies are awaited elsewhere."""
        channel = [(self._channel.fileno(), select.EPOLLIN | select.EPOLLRDHUP)] if self._channel else []
        return [(self._connection.fileno(), select.EPOLLRDHUP), *channel]

    def configuration(self, size: int) -> bytes:
        """The device's configuration space."""
        if not self.protocol & V.CONFIG:
            raise PeerError("has no configuration space")
        body = self._connection.ask(V.GET_CONFIG, CONFIG.pack(0, size, 0) + bytes(size))
        if len(body) != CONFIG.size + size or CONFIG.unpack_from(body)[:2] != (0, size):
            raise PeerError(f"has no configuration space of {size} bytes")
        return body[CONFIG.size :]

    def configure(self, offset: int, data: bytes) -> None:
        """Write to it."""
        if self.protocol & V.CONFIG:
            self._connection.tell(V.SET_CONFIG, CONFIG.pack(offset, len(data), 0) + data)

    def accept(self, features: int, memory: Sequence[Shared]) -> None:
        """The driver has accepted these features, and the guest has this memory."""
        agreed = features | self.features & V.PROTOCOL_FEATURES
        self._connection.tell(V.SET_FEATURES, U64.pack(agreed))
        if not self._told:
            table = [REGION.pack(each.start, each.size, each.host, each.offset) for each in memory]
            body = STATE.pack(len(table), 0) + b"".join(table)
            self._connection.tell(V.SET_MEM_TABLE, body, [each.fd for each in memory])
            self._told = True

    def start(self, index: int, queue: Virtqueue, addresses: tuple[int, int, int], kick: int, call: int) -> None:
        """Have a queue served, from where it is."""
        tell = self._connection.tell
        descriptors, available, used = addresses
        tell(V.SET_VRING_NUM, STATE.pack(index, queue.size))
        tell(V.SET_VRING_BASE, STATE.pack(index, queue.progress()[0]))
        tell(V.SET_VRING_ADDR, ADDRESSES.pack(index, 0, descriptors, used, available, 0))
        tell(V.SET_VRING_CALL, U64.pack(index), [call])
        tell(V.SET_VRING_KICK, U64.pack(index), [kick])
        self.running.add(index)
        if self.features & V.PROTOCOL_FEATURES:
            tell(V.SET_VRING_ENABLE, STATE.pack(index, 1))

    def stop(self, index: int) -> int:
        """Have a queue left alone; return how many chains were taken from it, modulo 65536."""
        self.running.discard(index)
        if self.features & V.PROTOCOL_FEATURES:
            self._connection.tell(V.SET_VRING_ENABLE, STATE.pack(index, 0))
        body = self._connection.ask(V.GET_VRING_BASE, STATE.pack(index, 0))
        if len(body) != STATE.size or STATE.unpack(body)[0] != index:
            raise PeerError(f"answers GET_VRING_BASE of queue {index} with {body.hex()}")
        return int(STATE.unpack(body)[1]) & 0xFFFF

    def reset(self) -> None:
        """Have the device reset; its queues are stopped."""
        if self.protocol & V.RESET:
            self._connection.tell(V.RESET_DEVICE)

    def altogether(self, seconds: float) -> AbstractContextManager[float]:
        """See :meth:`runner.backends.vhost.connection.Connection.altogether`."""
        return self._connection.altogether(seconds)

    def changed(self) -> bool:
        """Whether the back end has reported a change of the configuration since the last call. Raises PeerError if it
        has gone."""
        changed = self._channel is not None and self._channel.changed()
        if self._connection.closed():
            raise PeerError("has closed the connection")
        return changed

    def end(self, lost: str | None = None) -> str:
        """End it, at once if it is ``lost``; return why it was lost, as far as can be known."""
        if self._channel is not None:
            self._channel.close()
        self._connection.close()
        if self._program is None:
            return f"its back end {lost}"
        if lost is not None and self._program.ended(1.0):  # it may be about to end
            lost = self._program.fate()
        elif lost is not None:
            lost = f"its back end {lost}"
        self._program.end(*([0.0] if lost is not None else []))
        return str(lost)
