"""A 16550A UART, after National Semiconductor's PC16550D data sheet (section 8, "Registers").

A written byte is sent before the next access, so the transmitter is always empty. A character timeout is due as soon as
the receive FIFO holds less than its trigger level. Baud rate, word length and parity are stored without effect. There
are no parity or framing errors.

A break arrives in its turn, as a character of zero with LSR.BI. Reading LSR clears that bit (8.4).

The host at the other end of the line uses hardware flow control. Its bytes wait, up to :data:`HOST_BUFFER` of them,
while the FIFO holds its trigger level and while the guest does not listen. The guest listens while RTS is on, while the
receive interrupt is enabled, and until it writes MCR for the first time. Bytes that the guest discards unread, by a
FIFO reset or by entering loopback, count as not sent yet.

A character takes time to arrive, as on a line, so that a driver's start does not discard the input: a FIFO reset leaves
the receiver empty, and the loop that drains it ends. A polling guest first finds the receiver empty in :data:`LOOKS`
reads of LSR. With the receive interrupt on, the first character comes within :data:`CHARACTER`, and the next one as
soon as there is room. The line falls at each read of RBR that leaves less than the trigger level, and rises again for
what remains or comes next. So a handler that takes one byte per edge gets all of them (8.6, 8.11).
"""

from collections import deque

from runner.devices.isa import ISADevice
from runner.devices.state import State, bits, flag, number, number_or_none, octets
from vmspec.registers import serial as R

FIFO_SIZE = 16
HOST_BUFFER = 65536  # bytes of host input that wait, at most
BREAK = 0x100  # beside the character: the line was held low for longer than one
LOOKS = 2  # reads of LSR that find the receiver empty before the next character arrives
CHARACTER = 1_000_000  # ns until it arrives in any case if its interrupt is on: ten bits at 9600 baud


class SerialState(State):
    """Registers and FIFO, and the host's bytes that wait. ``breaks`` and ``host_breaks`` have a bit for each byte that
    is a break, from bit 0 on."""

    VERSION = 2

    divisor: int = bits(0xFFFF)
    ier: int = bits(R.ERBFI | R.ETBEI | R.ELSI | R.EDSSI)
    fcr: int = bits(R.FIFO_ENABLE | R.TRIGGER_BITS)
    lcr: int = bits(0xFF)
    mcr: int = bits(R.DTR | R.RTS | R.OUT1 | R.OUT2 | R.LOOP)
    scr: int = bits(0xFF)
    modem: int = bits(R.CTS | R.DSR | R.RI | R.DCD)
    delta: int = bits(R.DCTS | R.DDSR | R.TERI | R.DDCD)
    overrun: bool = flag()
    thr_emptied: bool = flag()
    flow_control: bool = flag()
    fifo: bytes = octets(FIFO_SIZE)
    breaks: int = bits((1 << FIFO_SIZE) - 1)
    looped: int = number(0, FIFO_SIZE)
    host: bytes = octets(HOST_BUFFER + FIFO_SIZE)
    host_breaks: int = bits((1 << HOST_BUFFER + FIFO_SIZE) - 1)
    gap: int = number(0, LOOKS)
    arrives_in: int | None = number_or_none(0, CHARACTER)  # ns


class Characters(deque[int]):
    """Characters in their order; :data:`BREAK` is set in one that is a break."""

    def __bytes__(self) -> bytes:
        return bytes(character & 0xFF for character in self)

    @property
    def breaks(self) -> int:
        """A bit for each character, from bit 0 on: 1 for a break."""
        return sum(1 << at for at, character in enumerate(self) if character & BREAK)

    @breaks.setter
    def breaks(self, bits: int) -> None:
        for at in range(min(len(self), bits.bit_length())):
            if bits >> at & 1:
                self[at] |= BREAK


class Serial(ISADevice):
    """The UART; its text goes to ``output``, its input comes through ``receive``."""

    registers = tuple(range(R.WIDTH))

    state_class = SerialState

    def __init__(self) -> None:
        self._host = Characters()
        self._fifo = Characters()
        self._looped = 0  # number of bytes at the FIFO's head that came from loopback
        self._between = False  # RBR has been read: no receiver interrupt until more is there
        # The last values given to the line and the bus
        self._line = False
        self._coalesced = False
        self._shadowed: int | None = None
        self._flushed_at_once = False

    def clear(self) -> None:
        self._give_back()
        self._divisor = 12  # 9600 baud, as PC firmware leaves it
        self._ier = 0
        self._fcr = 0
        self._lcr = 0
        self._mcr = 0
        self._scr = 0
        self._modem = R.CTS | R.DSR | R.DCD  # the modem inputs: a ready peer
        self._delta = 0
        self._overrun = False
        self._thr_emptied = False  # a THR_EMPTY interrupt is pending
        self._flow_control = False  # MCR has been written, so RTS means something
        self._fifo.clear()
        self._looped = 0
        self._gap = LOOKS  # reads of LSR until the next character arrives
        self._arrival: int | None = None  # the time of the requested tick, when it arrives

    def start(self) -> None:
        self.bus.writes(*self.place(R.LSR), "ignored")  # read-only
        self.bus.writes(*self.place(R.MSR), "ignored")
        super().start()

    # Registers as the guest sees them

    def peek(self, offset: int) -> int | None:
        match offset:
            case R.DLL if self._lcr & R.DLAB:
                return self._divisor & 0xFF
            case R.DLM if self._lcr & R.DLAB:
                return self._divisor >> 8
            case R.RBR:
                return None if self._fifo else 0
            case R.IER:
                return self._ier
            case R.IIR:
                pending = self._interrupt()
                if pending == R.THR_EMPTY:
                    return None  # reading clears it
                return pending | (R.FIFOS_ENABLED if self._fcr & R.FIFO_ENABLE else 0)
            case R.LCR:
                return self._lcr
            case R.MCR:
                return self._mcr
            case R.LSR:
                idle = not (self._overrun or self._broken() or self._awaited())
                return self._line_status() if idle else None
            case R.MSR:
                return None if self._delta else self._modem
            case _:
                return self._scr

    def fetch(self, offset: int) -> int:
        match offset:
            case R.RBR:
                self._looped = max(0, self._looped - 1)
                byte = self._fifo.popleft() & 0xFF
                if not self._ier & R.ERBFI:
                    self._gap = LOOKS
                self._between = len(self._fifo) < self._trigger()
                self.drive()
                self._between = False
                return byte
            case R.IIR:
                self._thr_emptied = False
                return R.THR_EMPTY | (R.FIFOS_ENABLED if self._fcr & R.FIFO_ENABLE else 0)
            case R.LSR:
                status, self._overrun = self._line_status(), False
                if self._broken():
                    self._fifo[0] &= 0xFF  # the character itself stays
                if self._awaited():
                    self._gap -= 1  # a character that this read brings is seen by the next one
                return status | (R.DR if self._fifo else 0)
            case _:
                delta, self._delta = self._delta, 0
                return self._modem | delta

    def store(self, offset: int, value: int) -> None:
        match offset:
            case R.DLL if self._lcr & R.DLAB:
                self._divisor = self._divisor & 0xFF00 | value
            case R.DLM if self._lcr & R.DLAB:
                self._divisor = self._divisor & 0xFF | value << 8
            case R.THR:
                self._transmit(bytes((value,)))
            case R.IER:
                if value & R.ETBEI and not self._ier & R.ETBEI:
                    self._thr_emptied = True  # it is empty: enabling the interrupt raises it
                self._ier = value & (R.ERBFI | R.ETBEI | R.ELSI | R.EDSSI)
            case R.FCR:
                self._set_fifo_control(value)
            case R.LCR:
                self._lcr = value
            case R.MCR:
                self._set_modem_control(value & (R.DTR | R.RTS | R.OUT1 | R.OUT2 | R.LOOP))
            case R.SCR:
                self._scr = value

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        if offset == R.THR:
            self._transmit(data)
            self.changed()
        else:
            super().written(region, offset, size, data)

    # Input from the host

    def room(self) -> int:
        return max(0, HOST_BUFFER - len(self._host))

    def receive(self, data: bytes) -> None:
        self._host.extend(data)
        self.changed()

    def line_break(self) -> None:
        """The host holds the line low for a moment. A break that has no room is lost."""
        if self.room():
            self._host.append(BREAK)
            self.changed()

    def sysrq(self, key: str) -> None:
        """A break and a key: Linux takes them for a magic SysRq (Documentation/admin-guide/sysrq.rst)."""
        if self.room() > 1:
            self._host.extend((BREAK, ord(key)))
            self.changed()

    def tick(self) -> None:
        self._arrival = None
        self._gap = 0
        self.changed()

    @property
    def _arrives_in(self) -> int | None:
        """ns until the requested tick."""
        return None if self._arrival is None else max(0, self._arrival - self.clock.monotonic())

    @_arrives_in.setter
    def _arrives_in(self, delay: int | None) -> None:
        self._arrival = None if delay is None else self.clock.monotonic() + delay
        self.after(delay)

    @property
    def _breaks(self) -> int:
        return self._fifo.breaks

    @_breaks.setter
    def _breaks(self, bits: int) -> None:
        self._fifo.breaks = bits

    @property
    def _host_breaks(self) -> int:
        return self._host.breaks

    @_host_breaks.setter
    def _host_breaks(self, bits: int) -> None:
        self._host.breaks = bits

    # What the registers do

    def settle(self) -> None:
        while self._host and not self._gap and self._listens() and len(self._fifo) < self._trigger():
            self._fifo.append(self._host.popleft())
        coming = self._awaited() and bool(self._ier & R.ERBFI)
        if coming != (self._arrival is not None):
            self._arrives_in = CHARACTER if coming else None
        coalesced = not self._lcr & R.DLAB and not self._mcr & R.LOOP
        if coalesced != self._coalesced:
            self._coalesced = coalesced
            self.bus.writes(*self.place(R.THR), "coalesced" if coalesced else None)
        inert = self._inert()
        if inert != self._shadowed:
            self._shadowed = inert
            self.bus.shadow_writes(*self.place(R.IER), inert)
        awaited = bool(self._ier & R.ETBEI)  # the guest waits for the interrupt that reports its bytes as sent
        if awaited != self._flushed_at_once:
            self._flushed_at_once = awaited
            self.bus.flush_at_once(awaited)

    def drive(self) -> None:
        # A PC forwards the interrupt only while OUT2 is on. Teaching systems (xv6 among them) never set it, and other
        # virtual machines do not require it, so neither does this one. In loopback the line stays low.
        line = self._interrupt() != R.NO_INTERRUPT and not self._mcr & R.LOOP
        if line != self._line:
            self._line = line
            self.irq.set(line)

    def _interrupt(self) -> int:
        """The pending interrupt of highest priority, as IIR bits 3-0."""
        if self._ier & R.ELSI and (self._overrun or self._broken()):
            return R.RECEIVER_LINE_STATUS
        if self._ier & R.ERBFI and self._fifo and not self._between:
            return R.RECEIVED_DATA if len(self._fifo) >= self._trigger() else R.CHARACTER_TIMEOUT
        if self._ier & R.ETBEI and self._thr_emptied:
            return R.THR_EMPTY
        if self._ier & R.EDSSI and self._delta:
            return R.MODEM_STATUS
        return R.NO_INTERRUPT

    def _inert(self) -> int | None:
        """The interrupts that can be enabled and disabled now without moving the line: Linux does that around every
        message that it prints. None: the line is high, or the register is the divisor's."""
        if self._lcr & R.DLAB or self._interrupt() != R.NO_INTERRUPT:
            return None
        received = 0 if self._fifo or self._host else R.ERBFI
        return received | (0 if self._overrun or self._broken() else R.ELSI) | (0 if self._delta else R.EDSSI)

    def _trigger(self) -> int:
        return R.TRIGGER[self._fcr >> 6] if self._fcr & R.FIFO_ENABLE else 1

    def _capacity(self) -> int:
        return FIFO_SIZE if self._fcr & R.FIFO_ENABLE else 1

    def _awaited(self) -> bool:
        """Whether the receiver is empty and the host's next character is on its way."""
        return bool(self._host and self._gap and not self._fifo and self._listens())

    def _broken(self) -> bool:
        """Whether the next character is a break that LSR has not shown yet."""
        return bool(self._fifo and self._fifo[0] & BREAK)

    def _line_status(self) -> int:
        if not self._fifo and not self._overrun:
            return R.THRE | R.TEMT
        value = R.THRE | R.TEMT | (R.DR if self._fifo else 0) | (R.OE if self._overrun else 0)
        if self._broken():
            value |= R.BI
        if self._fcr & R.FIFO_ENABLE and self._fifo.breaks:
            value |= R.FIFO_ERROR
        return value

    def _listens(self) -> bool:
        if self._mcr & R.LOOP:
            return False
        return not self._flow_control or bool(self._mcr & R.RTS or self._ier & R.ERBFI)

    def _transmit(self, data: bytes) -> None:
        # A byte in THR ends the interrupt that reported it empty; an edge-triggered line must see that.
        self._thr_emptied = False
        self.drive()
        if self._mcr & R.LOOP:
            for byte in data:
                self._loop_back(byte)
        else:
            self.output(data)
        self._thr_emptied = True

    def _loop_back(self, byte: int) -> None:
        if len(self._fifo) >= self._capacity():  # more: a loaded state may have bytes and no FIFO
            self._overrun = True
            if self._fcr & R.FIFO_ENABLE:
                return  # the FIFO keeps what it has
            self._fifo.clear()  # without the FIFO, the new byte destroys the old one
        self._fifo.append(byte)
        self._looped = len(self._fifo)

    def _set_fifo_control(self, value: int) -> None:
        if (value ^ self._fcr) & R.FIFO_ENABLE or (value & R.FIFO_ENABLE and value & R.RCVR_FIFO_RESET):
            self._give_back()
            self._fifo.clear()
            self._looped = 0
        self._fcr = value & (R.FIFO_ENABLE | R.TRIGGER_BITS) if value & R.FIFO_ENABLE else 0

    def _set_modem_control(self, value: int) -> None:
        if value & R.LOOP and not self._mcr & R.LOOP:
            self._give_back()
        self._flow_control = True
        self._mcr = value
        before = self._modem
        if value & R.LOOP:
            pairs = ((R.RTS, R.CTS), (R.DTR, R.DSR), (R.OUT1, R.RI), (R.OUT2, R.DCD))
            self._modem = sum(status for control, status in pairs if value & control)
        else:
            self._modem = R.CTS | R.DSR | R.DCD
        changed = before ^ self._modem
        self._delta |= (changed & (R.CTS | R.DSR | R.DCD)) >> 4
        if changed & before & R.RI:
            self._delta |= R.TERI

    def _give_back(self) -> None:
        """Take the host's unread bytes out of the FIFO, to arrive again later."""
        self._gap = LOOKS
        while len(self._fifo) > self._looped:
            self._host.appendleft(self._fifo.pop())
