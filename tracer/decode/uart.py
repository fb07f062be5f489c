"""The 16550A UART (National Semiconductor PC16550D data sheet, section 8; the numbers are its sections).

With DLAB, bit 7 of the LCR, offsets 0 and 1 are the divisor latch; without, the data and the interrupt enables.
"""

from tracer.decode.register import Bit, Field, Register, character

LCR = 3
DLAB = 0x80  # of the LCR
BAUD_BASE = 115200  # of a PC's 1.8432 MHz crystal, divided by 16


def _line(value: int, direction: str) -> str:
    """The LCR (8.1): "8n1", and further settings."""
    parity = ("n", "o", "n", "e", "n", "1", "n", "0")[value >> 3 & 7]  # EPS and stick parity count with PEN only
    parts = [f"{5 + (value & 3)}{parity}{2 if value & 4 else 1}"]
    parts += [name for mask, name in ((0x40, "BREAK"), (DLAB, "DLAB")) if value & mask]
    return " ".join(parts)


# IIR bits 3-0 (8.6, table IV): which interrupt is pending; bit 0 set is none.
_PENDING = {1: "no interrupt", 6: "line status", 4: "data", 12: "timeout", 2: "THR empty", 0: "modem status"}

_RBR = Register("RBR", "THR", meaning=character)
_IER = Register("IER", bits=(Bit(1, "ERBFI"), Bit(2, "ETBEI"), Bit(4, "ELSI"), Bit(8, "EDSSI")))  # 8.7
_FCR = (  # 8.5
    Bit(1, "enable"),
    Bit(2, "clear RX"),
    Bit(4, "clear TX"),
    Bit(8, "DMA"),
    Field(0xC0, "trigger", {0: "", 1: "trigger 4", 2: "trigger 8", 3: "trigger 14"}),
)
REGISTERS = (
    _RBR,
    _IER,
    Register(
        "IIR", "FCR", read_bits=(Field(0x0F, "id", _PENDING), Field(0xC0, "FIFOs", {0: "", 3: "FIFO"})), write_bits=_FCR
    ),
    Register("LCR", meaning=_line),
    Register("MCR", bits=(Bit(1, "DTR"), Bit(2, "RTS"), Bit(4, "OUT1"), Bit(8, "OUT2"), Bit(0x10, "LOOP"))),  # 8.8
    Register(  # 8.4
        "LSR",
        bits=(
            Bit(0x01, "DR"),
            Bit(0x02, "OE"),
            Bit(0x04, "PE"),
            Bit(0x08, "FE"),
            Bit(0x10, "BI"),
            Bit(0x20, "THRE"),
            Bit(0x40, "TEMT"),
            Bit(0x80, "FIFO error"),
        ),
    ),
    Register(  # 8.9
        "MSR",
        bits=(
            Bit(0x01, "DCTS"),
            Bit(0x02, "DDSR"),
            Bit(0x04, "TERI"),
            Bit(0x08, "DDCD"),
            Bit(0x10, "CTS"),
            Bit(0x20, "DSR"),
            Bit(0x40, "RI"),
            Bit(0x80, "DCD"),
        ),
    ),
    Register("SCR"),  # 8.10
)
DIVISOR = (  # 8.3
    Register("DLL", meaning=lambda value, direction: f"{BAUD_BASE // value} baud if DLM is 0" if value else ""),
    Register("DLM"),
)
# First ports of COM1 to COM4, as on every PC since the AT.
COMS = {0x3F8: "COM1", 0x2F8: "COM2", 0x3E8: "COM3", 0x2E8: "COM4"}


def register(addr: int, divisor: bool) -> tuple[str, Register] | None:
    """The port's name and its register, None if the port is no UART's."""
    com = COMS.get(addr & ~7)
    if com is None:
        return None
    return com, DIVISOR[addr & 7] if divisor and addr & 7 < len(DIVISOR) else REGISTERS[addr & 7]
