"""A 16550A UART, after National Semiconductor's PC16550D data sheet (section 8, "Registers").

A written byte is sent before the next access, so the transmitter is always empty. A character timeout is due as soon as
the receive FIFO holds less than its trigger level. Baud rate, word length and parity are stored without effect. There
are no parity or framing errors and no breaks.

The host at the other end of the line uses hardware flow control. Its bytes wait, up to :data:`HOST_BUFFER` of them,
while the FIFO holds its trigger level and while the guest does not listen. The guest listens while RTS is on, while the
receive interrupt is enabled, and until it writes MCR for the first time. Bytes that the guest discards unread, by a
FIFO reset or by entering loopback, count as not sent yet.

A character takes time to arrive, as on a line, so that a driver's start does not discard the input: a FIFO reset leaves
the receiver empty, and the loop that drains it ends. A polling guest first finds the receiver empty in :data:`LOOKS`
reads of LSR. With the receive interrupt on, the first character comes within :data:`CHARACTER`, and the next one as
soon as there is room. The line falls at each read of RBR that leaves less than the trigger level, and rises again for
what remains or comes next. So a handler that takes one byte per edge gets all of them (8.5, 8.10.1).
"""

from collections import deque

from runner.devices.isa import ISADevice
from runner.devices.state import State, bits, flag, number, number_or_none, octets

# Register offsets (data sheet, table II). With LCR.DLAB on, 0 and 1 are the divisor latch.
RBR = THR = DLL = 0  # receiver buffer (read), transmitter holding (write)
IER = DLM = 1  # interrupt enable
IIR = FCR = 2  # interrupt identification (read), FIFO control (write)
LCR = 3  # line control
MCR = 4  # modem control
LSR = 5  # line status
MSR = 6  # modem status
SCR = 7  # scratch

# Interrupt enable register (8.6)
ERBFI = 0x01  # received data available and character timeout
ETBEI = 0x02  # transmitter holding register empty
ELSI = 0x04  # receiver line status
EDSSI = 0x08  # modem status

# Interrupt identification register (8.5, table IV), in order of priority
RECEIVER_LINE_STATUS = 0x06
RECEIVED_DATA = 0x04
CHARACTER_TIMEOUT = 0x0C
THR_EMPTY = 0x02
MODEM_STATUS = 0x00
NO_INTERRUPT = 0x01
FIFOS_ENABLED = 0xC0

# FIFO control register (8.4)
FIFO_ENABLE = 0x01  # changing it empties the FIFOs; while it is 0, the other bits cannot be set
RCVR_FIFO_RESET = 0x02
TRIGGER = (1, 4, 8, 14)  # receive trigger level in bytes, by bits 7-6

DLAB = 0x80  # LCR (8.2): divisor latch access

# Modem control register (8.7)
DTR = 0x01
RTS = 0x02
OUT1 = 0x04
OUT2 = 0x08  # on a PC it enables the interrupt; see drive
LOOP = 0x10  # transmitter connected to receiver, modem outputs to modem inputs; all output pins inactive

# Line status register (8.3)
DR = 0x01  # data ready
OE = 0x02  # overrun: a byte was lost; cleared by reading LSR
THRE = 0x20  # transmitter holding register empty
TEMT = 0x40  # transmitter empty

# Modem status register (8.8): the low half says which inputs changed; reading clears it
DCTS = 0x01
DDSR = 0x02
TERI = 0x04  # the ring indicator went off
DDCD = 0x08
CTS = 0x10
DSR = 0x20
RI = 0x40
DCD = 0x80

FIFO_SIZE = 16
HOST_BUFFER = 65536  # bytes of host input that wait, at most
LOOKS = 2  # reads of LSR that find the receiver empty before the next character arrives
CHARACTER = 1_000_000  # ns until it arrives in any case if its interrupt is on: ten bits at 9600 baud


class SerialState(State):
    """Registers and FIFO, and the host's bytes that wait."""

    divisor: int = bits(0xFFFF)
    ier: int = bits(ERBFI | ETBEI | ELSI | EDSSI)
    fcr: int = bits(FIFO_ENABLE | 0xC0)
    lcr: int = bits(0xFF)
    mcr: int = bits(DTR | RTS | OUT1 | OUT2 | LOOP)
    scr: int = bits(0xFF)
    modem: int = bits(CTS | DSR | RI | DCD)
    delta: int = bits(DCTS | DDSR | TERI | DDCD)
    overrun: bool = flag()
    thr_emptied: bool = flag()
    flow_control: bool = flag()
    fifo: bytes = octets(FIFO_SIZE)
    looped: int = number(0, FIFO_SIZE)
    host: bytes = octets(HOST_BUFFER + FIFO_SIZE)
    gap: int = number(0, LOOKS)
    arrives_in: int | None = number_or_none(0, CHARACTER)  # ns


class Serial(ISADevice):
    """The UART; its text goes to ``output``, its input comes through ``receive``."""

    registers = tuple(range(8))

    state_class = SerialState

    def __init__(self) -> None:
        self._host: deque[int] = deque()
        self._fifo: deque[int] = deque()
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
        self._modem = CTS | DSR | DCD  # the modem inputs: a ready peer
        self._delta = 0
        self._overrun = False
        self._thr_emptied = False  # a THR_EMPTY interrupt is pending
        self._flow_control = False  # MCR has been written, so RTS means something
        self._fifo.clear()
        self._looped = 0
        self._gap = LOOKS  # reads of LSR until the next character arrives
        self._arrival: int | None = None  # the time of the requested tick, when it arrives

    def start(self) -> None:
        self.bus.writes(*self.place(LSR), "ignored")  # read-only
        self.bus.writes(*self.place(MSR), "ignored")
        super().start()

    # Registers as the guest sees them

    def peek(self, offset: int) -> int | None:
        match offset:
            case 0 if self._lcr & DLAB:
                return self._divisor & 0xFF
            case 1 if self._lcr & DLAB:
                return self._divisor >> 8
            case 0:
                return None if self._fifo else 0
            case 1:
                return self._ier
            case 2:
                pending = self._interrupt()
                if pending == THR_EMPTY:
                    return None  # reading clears it
                return pending | (FIFOS_ENABLED if self._fcr & FIFO_ENABLE else 0)
            case 3:
                return self._lcr
            case 4:
                return self._mcr
            case 5:
                return None if self._overrun or self._awaited() else THRE | TEMT | (DR if self._fifo else 0)
            case 6:
                return None if self._delta else self._modem
            case _:
                return self._scr

    def fetch(self, offset: int) -> int:
        match offset:
            case 0:
                self._looped = max(0, self._looped - 1)
                byte = self._fifo.popleft()
                if not self._ier & ERBFI:
                    self._gap = LOOKS
                self._between = len(self._fifo) < self._trigger()
                self.drive()
                self._between = False
                return byte
            case 2:
                self._thr_emptied = False
                return THR_EMPTY | (FIFOS_ENABLED if self._fcr & FIFO_ENABLE else 0)
            case 5:
                overrun, self._overrun = self._overrun, False
                if self._awaited():
                    self._gap -= 1  # a character that this read brings is seen by the next one
                return THRE | TEMT | (OE if overrun else 0) | (DR if self._fifo else 0)
            case _:
                delta, self._delta = self._delta, 0
                return self._modem | delta

    def store(self, offset: int, value: int) -> None:
        match offset:
            case 0 if self._lcr & DLAB:
                self._divisor = self._divisor & 0xFF00 | value
            case 1 if self._lcr & DLAB:
                self._divisor = self._divisor & 0xFF | value << 8
            case 0:
                self._transmit(bytes((value,)))
            case 1:
                if value & ETBEI and not self._ier & ETBEI:
                    self._thr_emptied = True  # it is empty: enabling the interrupt raises it
                self._ier = value & (ERBFI | ETBEI | ELSI | EDSSI)
            case 2:
                self._set_fifo_control(value)
            case 3:
                self._lcr = value
            case 4:
                self._set_modem_control(value & (DTR | RTS | OUT1 | OUT2 | LOOP))
            case 7:
                self._scr = value

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        if offset == THR:
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

    # What the registers do

    def settle(self) -> None:
        while self._host and not self._gap and self._listens() and len(self._fifo) < self._trigger():
            self._fifo.append(self._host.popleft())
        coming = self._awaited() and bool(self._ier & ERBFI)
        if coming != (self._arrival is not None):
            self._arrives_in = CHARACTER if coming else None
        coalesced = not self._lcr & DLAB and not self._mcr & LOOP
        if coalesced != self._coalesced:
            self._coalesced = coalesced
            self.bus.writes(*self.place(THR), "coalesced" if coalesced else None)
        inert = self._inert()
        if inert != self._shadowed:
            self._shadowed = inert
            self.bus.shadow_writes(*self.place(IER), inert)
        awaited = bool(self._ier & ETBEI)  # the guest waits for the interrupt that reports its bytes as sent
        if awaited != self._flushed_at_once:
            self._flushed_at_once = awaited
            self.bus.flush_at_once(awaited)

    def drive(self) -> None:
        # A PC forwards the interrupt only while OUT2 is on. Teaching systems (xv6 among them) never set it, and other
        # virtual machines do not require it, so neither does this one. In loopback the line stays low.
        line = self._interrupt() != NO_INTERRUPT and not self._mcr & LOOP
        if line != self._line:
            self._line = line
            self.irq.set(line)

    def _interrupt(self) -> int:
        """The pending interrupt of highest priority, as IIR bits 3-0."""
        if self._ier & ELSI and self._overrun:
            return RECEIVER_LINE_STATUS
        if self._ier & ERBFI and self._fifo and not self._between:
            return RECEIVED_DATA if len(self._fifo) >= self._trigger() else CHARACTER_TIMEOUT
        if self._ier & ETBEI and self._thr_emptied:
            return THR_EMPTY
        if self._ier & EDSSI and self._delta:
            return MODEM_STATUS
        return NO_INTERRUPT

    def _inert(self) -> int | None:
        """The interrupts that can be enabled and disabled now without moving the line: Linux does that around every
        message that it prints. None: the line is high, or the register is the divisor's."""
        if self._lcr & DLAB or self._interrupt() != NO_INTERRUPT:
            return None
        received = 0 if self._fifo or self._host else ERBFI
        return received | (0 if self._overrun else ELSI) | (0 if self._delta else EDSSI)

    def _trigger(self) -> int:
        return TRIGGER[self._fcr >> 6] if self._fcr & FIFO_ENABLE else 1

    def _capacity(self) -> int:
        return FIFO_SIZE if self._fcr & FIFO_ENABLE else 1

    def _awaited(self) -> bool:
        """Whether the receiver is empty and the host's next character is on its way."""
        return bool(self._host and self._gap and not self._fifo and self._listens())

    def _listens(self) -> bool:
        if self._mcr & LOOP:
            return False
        return not self._flow_control or bool(self._mcr & RTS or self._ier & ERBFI)

    def _transmit(self, data: bytes) -> None:
        # A byte in THR ends the interrupt that reported it empty; an edge-triggered line must see that.
        self._thr_emptied = False
        self.drive()
        if self._mcr & LOOP:
            for byte in data:
                self._loop_back(byte)
        else:
            self.output(data)
        self._thr_emptied = True

    def _loop_back(self, byte: int) -> None:
        if len(self._fifo) == self._capacity():
            self._overrun = True
            if self._fcr & FIFO_ENABLE:
                return  # the FIFO keeps what it has
            self._fifo.clear()  # without the FIFO, the new byte destroys the old one
        self._fifo.append(byte)
        self._looped = len(self._fifo)

    def _set_fifo_control(self, value: int) -> None:
        if (value ^ self._fcr) & FIFO_ENABLE or (value & FIFO_ENABLE and value & RCVR_FIFO_RESET):
            self._give_back()
            self._fifo.clear()
            self._looped = 0
        self._fcr = value & (FIFO_ENABLE | 0xC0) if value & FIFO_ENABLE else 0

    def _set_modem_control(self, value: int) -> None:
        if value & LOOP and not self._mcr & LOOP:
            self._give_back()
        self._flow_control = True
        self._mcr = value
        before = self._modem
        if value & LOOP:
            pairs = ((RTS, CTS), (DTR, DSR), (OUT1, RI), (OUT2, DCD))
            self._modem = sum(status for control, status in pairs if value & control)
        else:
            self._modem = CTS | DSR | DCD
        changed = before ^ self._modem
        self._delta |= (changed & (CTS | DSR | DCD)) >> 4
        if changed & before & RI:
            self._delta |= TERI

    def _give_back(self) -> None:
        """Take the host's unread bytes out of the FIFO, to arrive again later."""
        self._gap = LOOKS
        while len(self._fifo) > self._looped:
            self._host.appendleft(self._fifo.pop())
