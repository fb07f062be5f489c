"""The 16550A UART, by the data sheet that :mod:`vmspec.registers.serial` names.

With DLAB, bit 7 of the LCR, offsets 0 and 1 are the divisor latch; without, the data and the interrupt enables.
"""

from tracer.decode.register import Bit, Field, Register, character
from vmspec.registers import serial as R


def _line(value: int, direction: str) -> str:
    """The LCR: "8n1", and further settings."""
    # EPS and stick parity count with PEN only.
    parity = ("n", "o", "n", "e", "n", "1", "n", "0")[(value & R.PARITY) >> 3]
    bits = 5 + (value & R.WLS)
    stop = "1" if not value & R.STB else "1.5" if bits == 5 else "2"
    parts = [f"{bits}{parity}{stop}"]
    parts += [name for mask, name in ((R.BREAK, "BREAK"), (R.DLAB, "DLAB")) if value & mask]
    return " ".join(parts)


# Which interrupt is pending.
_PENDING = {
    R.NO_INTERRUPT: "no interrupt",
    R.RECEIVER_LINE_STATUS: "line status",
    R.RECEIVED_DATA: "data",
    R.CHARACTER_TIMEOUT: "timeout",
    R.THR_EMPTY: "THR empty",
    R.MODEM_STATUS: "modem status",
}
_IIR = (Field(R.INTERRUPT_ID, "id", _PENDING), Field(R.FIFOS_ENABLED, "FIFOs", {0: "", 3: "FIFO"}))
_FCR = (
    Bit(R.FIFO_ENABLE, "enable"),
    Bit(R.RCVR_FIFO_RESET, "clear RX"),
    Bit(R.XMIT_FIFO_RESET, "clear TX"),
    Bit(R.DMA_MODE, "DMA"),
    Field(R.TRIGGER_BITS, "trigger", {0: "", **{at: f"trigger {R.TRIGGER[at]}" for at in range(1, 4)}}),
)
REGISTERS = {
    R.RBR: Register("RBR", "THR", meaning=character),
    R.IER: Register(
        "IER", bits=(Bit(R.ERBFI, "ERBFI"), Bit(R.ETBEI, "ETBEI"), Bit(R.ELSI, "ELSI"), Bit(R.EDSSI, "EDSSI"))
    ),
    R.IIR: Register("IIR", "FCR", read_bits=_IIR, write_bits=_FCR),
    R.LCR: Register("LCR", meaning=_line),
    R.MCR: Register(
        "MCR",
        bits=(Bit(R.DTR, "DTR"), Bit(R.RTS, "RTS"), Bit(R.OUT1, "OUT1"), Bit(R.OUT2, "OUT2"), Bit(R.LOOP, "LOOP")),
    ),
    R.LSR: Register(
        "LSR",
        bits=(
            Bit(R.DR, "DR"),
            Bit(R.OE, "OE"),
            Bit(R.PE, "PE"),
            Bit(R.FE, "FE"),
            Bit(R.BI, "BI"),
            Bit(R.THRE, "THRE"),
            Bit(R.TEMT, "TEMT"),
            Bit(R.FIFO_ERROR, "FIFO error"),
        ),
    ),
    R.MSR: Register(
        "MSR",
        bits=(
            Bit(R.DCTS, "DCTS"),
            Bit(R.DDSR, "DDSR"),
            Bit(R.TERI, "TERI"),
            Bit(R.DDCD, "DDCD"),
            Bit(R.CTS, "CTS"),
            Bit(R.DSR, "DSR"),
            Bit(R.RI, "RI"),
            Bit(R.DCD, "DCD"),
        ),
    ),
    R.SCR: Register("SCR"),
}
DIVISOR = {
    R.DLL: Register("DLL", meaning=lambda value, direction: f"{R.CLOCK // value} baud if DLM is 0" if value else ""),
    R.DLM: Register("DLM"),
}
COMS = {port: f"COM{number}" for number, (port, _) in R.COMS.items()}


def register(addr: int, divisor: bool) -> tuple[str, Register] | None:
    """The port's name and its register, None if the port is no UART's."""
    offset = addr % R.WIDTH
    com = COMS.get(addr - offset)
    if com is None:
        return None
    return com, DIVISOR[offset] if divisor and offset in DIVISOR else REGISTERS[offset]
