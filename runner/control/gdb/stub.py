"""The commands of the protocol while the guest stands still (gdb manual, E.2 to E.4): a packet and its answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from runner.control.gdb.breakpoints import BreakpointError, Kind, Request
from runner.control.gdb.description import description
from runner.control.gdb.layout import Register
from runner.control.gdb.packets import LONGEST
from runner.control.gdb.resuming import ACTIONS, ALL, Back, RequestError, Resume, continuing, number, thread
from runner.control.gdb.target import Stop, Target
from runner.kvm.errors import KvmError
from vmspec.host.printable import printable

OK, UNKNOWN, NO_MEMORY = b"OK", b"", b"E14"  # EFAULT
MOST = LONGEST // 2 - 8  # bytes of memory in an answer, two digits each
FEATURES = (
    f"PacketSize={LONGEST:x};QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+;multiprocess-"
)

REVERSIBLE = ";ReverseStep+;ReverseContinue+"


class Output(NamedTuple):
    """What a command of the user's prints."""

    text: bytes

    def packets(self) -> Iterator[bytes]:
        """It as packets; the last ends the command."""
        for at in range(0, len(self.text), MOST):
            yield b"O" + self.text[at : at + MOST].hex().encode()
        yield OK


class Over(Enum):
    """What ends the conversation."""

    DETACH = "detach"
    KILL = "kill"


Answer = bytes | Output | Resume | Back | Over


class Stub:
    """Answers packets. ``stop`` is why the guest stands still."""

    def __init__(self, target: Target, attached: bool) -> None:
        """``attached``: a client that quits leaves the guest running; else it kills it."""
        self.acknowledges = True  # both sides confirm each packet
        self.stop = Stop(0)
        self._target, self._attached = target, attached
        self._description = description(target.registers, target.wide)
        self._chosen = 0  # the vCPU whose registers and memory are meant
        self._resumed = 0  # the one that c and s mean; ALL: all of them
        self._names = False  # the client takes breakpoints apart in stops

    def answer(self, packet: bytes) -> Answer:
        """The answer to a packet; empty: the command is unknown."""
        try:
            return self._answer(packet)
        except (RequestError, BreakpointError, KvmError) as error:
            return b"E." + printable(str(error)).encode()

    def _answer(self, packet: bytes) -> Answer:
        rest = packet[1:]
        match packet[:1]:
            case b"?":
                return self.stopped(self.stop)
            case b"g":
                return self._read(self._target.registers)
            case b"G":
                return self._write_all(rest)
            case b"p":
                return self._read([self._register(rest)])
            case b"P":
                return self._write(*_pair(rest, b"="))
            case b"m":
                return self._memory(rest).hex().encode() or NO_MEMORY
            case b"M":
                where, data = _pair(rest, b":")
                return self._put(where, _bytes(data))
            case b"X":
                return self._put(*_pair(rest, b":"))
            case b"Z" | b"z":
                return self._breakpoint(packet[:1] == b"Z", rest)
            case b"H":
                return self._choose(rest)
            case b"T":
                self._thread(rest)
                return OK
            case b"c" | b"C" | b"s" | b"S":
                return self._go(packet)
            case b"b" if self._target.reversible and rest in (b"s", b"c"):
                return Back(rest == b"s")
            case b"D":
                return Over.DETACH
            case b"k":
                return Over.KILL
            case b"q" | b"Q" | b"v":
                return self._named(packet)
        return UNKNOWN

    def _named(self, packet: bytes) -> Answer:
        end = next((at for at, byte in enumerate(packet) if byte in b":,;"), len(packet))
        command = COMMANDS.get(packet[:end])
        return UNKNOWN if command is None else command(self, packet[end + 1 :])

    # Registers

    def _register(self, text: bytes) -> Register:
        index, registers = number(text), self._target.registers
        if index >= len(registers):
            raise RequestError(f"there is no register {index}: there are {len(registers)}")
        return registers[index]

    def _read(self, registers: Sequence[Register]) -> bytes:
        values = self._target.get(self._chosen, registers)
        found = b""
        for register, value in zip(registers, values, strict=True):
            size = register.bits // 8
            found += b"\xff" * size if value is None else (value % (1 << register.bits)).to_bytes(size, "little")
        return found.hex().encode()

    def _write_all(self, text: bytes) -> bytes:
        data, values, at = _bytes(text), {}, 0
        for register in self._target.registers:
            part = data[at : at + register.bits // 8]
            if len(part) < register.bits // 8:
                break  # the client knows fewer
            values[register] = int.from_bytes(part, "little")
            at += len(part)
        if at != len(data):
            raise RequestError("the bytes do not end with a register")
        self._target.set(self._chosen, values)
        return OK

    def _write(self, index: bytes, text: bytes) -> bytes:
        register, data = self._register(index), _bytes(text)
        if len(data) != register.bits // 8:
            raise RequestError(f"register {register.name} has {register.bits // 8} bytes")
        self._target.set(self._chosen, {register: int.from_bytes(data, "little")})
        return OK

    # Memory

    def _memory(self, where: bytes) -> bytes:
        address, size = map(number, _pair(where, b","))
        return self._target.read(self._chosen, address, min(size, MOST, (1 << 64) - address))

    def _put(self, where: bytes, data: bytes) -> bytes:
        address, size = map(number, _pair(where, b","))
        if size != len(data):
            raise RequestError(f"{size} bytes were announced, and {len(data)} came")
        if address + size > 1 << 64 or not self._target.write(self._chosen, address, data):
            raise RequestError(f"not memory that can be written: {size} bytes at {address:#x}")
        return OK

    # Breakpoints

    def _breakpoint(self, inserts: bool, text: bytes) -> bytes:
        parts = text.partition(b";")[0].split(b",")  # conditions are not for the target
        if len(parts) != 3:
            raise RequestError("a breakpoint has a kind, an address and a size")
        kind, address, size = map(number, parts)
        if kind not in list(Kind):
            return UNKNOWN
        breakpoints = self._target.breakpoints
        if not inserts:
            breakpoints.remove(Kind(kind), address, size)
            return OK
        physical = self._target.code(self._chosen, address) if kind == Kind.SOFTWARE else None
        breakpoints.insert(Request(Kind(kind), address, size, physical))
        return OK

    # vCPUs

    def _thread(self, text: bytes) -> int:
        return thread(text, self._target.vcpus, self._chosen)

    def _choose(self, text: bytes) -> bytes:
        vcpu = self._thread(text[1:])
        match text[:1]:
            case b"g" if vcpu != ALL:
                self._chosen = vcpu
            case b"c":
                self._resumed = vcpu
            case b"g":
                pass
            case _:
                raise RequestError("H chooses a thread for g or for c")
        return OK

    def _go(self, packet: bytes) -> Answer:
        """c and s, for clients that do not use vCont. An address to go on from is not supported, as in gdb."""
        text = packet[1:].partition(b";")[2] if packet[:1] in b"CS" else packet[1:]
        if text:
            raise RequestError("set the instruction pointer first")
        steps, vcpus = packet[:1] in b"sS", range(self._target.vcpus)
        if steps:
            return Resume({self._chosen if self._resumed == ALL else self._resumed: True})
        return Resume(dict.fromkeys(vcpus, False))

    def stopped(self, stop: Stop) -> bytes:
        """The packet that reports a stop; from now on its vCPU is meant."""
        self.stop, self._chosen = stop, stop.vcpu
        why = b"replaylog:%b;" % stop.history.encode() if stop.history else b""
        match stop.met:
            case Request(Kind.SOFTWARE) if self._names:
                why = b"swbreak:;"
            case Request(Kind.HARDWARE) if self._names:
                why = b"hwbreak:;"
            case Request(Kind.WRITE, address):
                why = b"watch:%x;" % address
            case Request(Kind.READ, address):
                why = b"rwatch:%x;" % address
            case Request(Kind.ACCESS, address):
                why = b"awatch:%x;" % address
        return b"T%02x%bthread:%x;" % (stop.signal, why, stop.vcpu + 1)

    # Commands with names

    def _supported(self, text: bytes) -> bytes:
        self._names = b"swbreak+" in text
        return (FEATURES + (REVERSIBLE if self._target.reversible else "")).encode()

    def _object(self, text: bytes) -> bytes:
        """A part of an object of the target's: there is only its description."""
        if not text.startswith(b"features:read:"):
            return UNKNOWN
        name, where = _pair(text.removeprefix(b"features:read:"), b":")
        if name != b"target.xml":
            return b"E00"
        offset, size = map(number, _pair(where, b","))
        part = self._description[offset : offset + min(size, MOST)]
        return (b"l" if offset + len(part) >= len(self._description) else b"m") + part

    def _no_acknowledgements(self, text: bytes) -> bytes:
        self.acknowledges = False
        return OK

    def _threads(self, text: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (vcpu + 1) for vcpu in range(self._target.vcpus))

    def _extra(self, text: bytes) -> bytes:
        vcpu = self._thread(text)
        return self._target.describe(0 if vcpu == ALL else vcpu).encode().hex().encode()

    def _continue(self, text: bytes) -> Answer:
        return continuing(text, self._target.vcpus, self._chosen)

    def _command(self, text: bytes) -> Output:
        words = _bytes(text).decode("utf-8", "replace")
        return Output(self._target.monitor(words).encode("utf-8", "replace"))


def _pair(text: bytes, separator: bytes) -> tuple[bytes, bytes]:
    first, found, second = text.partition(separator)
    if not found:
        raise RequestError(f"{separator.decode()!r} is missing")
    return first, second


def _bytes(text: bytes) -> bytes:
    """The bytes of digits in hexadecimal. Raises RequestError."""
    if len(text) % 2 or text.strip(b"0123456789abcdefABCDEF"):
        raise RequestError("these are not bytes in hexadecimal")
    return bytes.fromhex(text.decode())


# By their names, which end before the first of ":,;".
COMMANDS: Mapping[bytes, Callable[[Stub, bytes], Answer]] = {
    b"qSupported": Stub._supported,
    b"QStartNoAckMode": Stub._no_acknowledgements,
    b"qXfer": Stub._object,
    b"qfThreadInfo": Stub._threads,
    b"qsThreadInfo": lambda stub, text: b"l",
    b"qThreadExtraInfo": Stub._extra,
    b"qC": lambda stub, text: b"QC%x" % (stub._chosen + 1),
    b"qAttached": lambda stub, text: b"%d" % stub._attached,
    b"qRcmd": Stub._command,
    b"vCont?": lambda stub, text: b"vCont;" + ACTIONS,
    b"vCont": Stub._continue,
    b"vKill": lambda stub, text: Over.KILL,
}
