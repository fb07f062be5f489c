"""Names and explains exits one after another, using what earlier exits have set.

Some registers are reached through others: the CMOS memory through an index, PCI functions through an address, the I/O
APIC through an index, the UART's divisor through a bit, the interrupt controller's set-up words by their order.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from tracer.decode import mmio, msr, pci, ports, uart
from tracer.decode.register import READ, WRITE, Bits, Register, character, spelled
from tracer.format.devicenames import kind_of
from vmspec import layout
from vmspec.registers import i8042, rtc, serial
from vmspec.registers.debug import exit_status
from vmspec.registers.pci import ADDRESS_PORT as PCI_ADDRESS
from vmspec.registers.pci import DATA_PORT as PCI_DATA
from vmspec.trace.record import NO_DEVICE

PIC_COMMANDS = (0x20, 0xA0)
ICW1 = 0x10  # the bit of a command that makes it the first set-up word
# Addresses whose writes change the decoding of later exits.
STATE_PORTS = (
    *(base + serial.LCR for base in uart.COMS),
    *PIC_COMMANDS,
    *(port + 1 for port in PIC_COMMANDS),
    rtc.INDEX_PORT,
    PCI_ADDRESS,
    i8042.DATA_PORT,
    i8042.COMMAND_PORT,
)
# Addresses whose reads do.
READ_ONCE = i8042.DATA_PORT
STATE_ADDRESSES = (layout.IOAPIC,)
# Addresses whose decoding depends on the state; at others the exit alone is enough.
DEPENDENT = (
    *(base + offset for base in uart.COMS for offset in uart.DIVISOR),
    READ_ONCE,
    rtc.DATA_PORT,
    *(PCI_DATA + offset for offset in range(4)),
    *(port + 1 for port in PIC_COMMANDS),
    layout.IOAPIC + mmio.IOAPIC_DATA,
)


Meaning = Callable[[int], str]  # of a value, which is the first item moved


class State(NamedTuple):
    """What earlier exits have selected. ``divisor``: the UARTs whose DLAB is set. ``cmos``, ``pci``, ``ioapic``: the
    index or address. ``i8042``: the controller's command whose operand or answer is at port 0x60. ``icw1`` and
    ``icw2``: set-up words of an interrupt controller that are still to come (8259A: ICW1 to ICW4)."""

    divisor: frozenset[str] = frozenset()
    cmos: int | None = None
    pci: int | None = None
    ioapic: int | None = None
    i8042: int | None = None
    icw1: tuple[str, ...] = ()
    icw2: tuple[str, ...] = ()


class Decoder:
    """Names and meanings of the exits of one machine, given to :meth:`decode` in the order of the trace."""

    def __init__(self, state: State = State()) -> None:  # noqa: B008 (it is immutable)
        self.state = state

    def decode(self, reason: str, addr: int, size: int, direction: str, data: int, device: str = "") -> tuple[str, str]:
        """The exit's name and the meaning of its value, "" if unknown.

        ``data`` is the first item moved, ``size`` its bytes. Only writes at STATE_PORTS and STATE_ADDRESSES and
        accesses at READ_ONCE set the state, so other rows may be left out. Only at DEPENDENT addresses does the result
        depend on it.
        """
        name, meaning = self.register(reason, addr, size, direction, device)
        self.follow(reason, addr, size, direction, data, device)
        return name, meaning(data) if meaning is not None else ""

    def register(
        self, reason: str, addr: int, size: int, direction: str, device: str = ""
    ) -> tuple[str, Meaning | None]:
        """The exit's name in the current state, and the function that decodes its value; None: a value is just a
        number."""
        match reason:
            case "io":
                return _claimed(device, direction) or self._port(addr, size, direction)
            case "mmio":
                return self._memory(addr, size, direction, device)
            case "rdmsr" | "wrmsr":
                name = msr.msr_name(addr)
                return name, _spelling(msr.BITS.get(name, ()))
            case "hypercall":
                return HYPERCALLS.get(addr, f"hypercall {addr}"), None
        return REASONS.get(reason, ""), None

    def follow(self, reason: str, addr: int, size: int, direction: str, data: int, device: str = "") -> None:
        """Update the state with an exit's selection."""
        state, write, byte = self.state, direction == WRITE, data & 0xFF
        match reason, addr:
            case "io", _ if _claimed(device, direction) is not None:
                return
            case "io", _ if write and (com := uart.COMS.get(addr - serial.LCR)) is not None:
                latched = state.divisor | {com} if byte & serial.DLAB else state.divisor - {com}
                self.state = state._replace(divisor=latched)
            case "io", i8042.COMMAND_PORT if write:
                self.state = state._replace(i8042=byte)
            case "io", i8042.DATA_PORT:
                self.state = state._replace(i8042=None)
            case "io", rtc.INDEX_PORT if write:
                self.state = state._replace(cmos=byte & rtc.ADDRESS)
            case "io", 0xCF8 if write and size == 4:
                self.state = state._replace(pci=data)
            case "io", 0x21 if write and state.icw1:
                self.state = state._replace(icw1=state.icw1[1:])
            case "io", 0xA1 if write and state.icw2:
                self.state = state._replace(icw2=state.icw2[1:])
            case "io", 0x20 if write and byte & ICW1:
                self.state = state._replace(icw1=_set_up_words(byte))
            case "io", 0xA0 if write and byte & ICW1:
                self.state = state._replace(icw2=_set_up_words(byte))
            case "mmio", layout.IOAPIC if write and (found := mmio.register(addr, device)) and found[0] == "IOAPIC":
                self.state = state._replace(ioapic=byte)

    def _port(self, addr: int, size: int, direction: str) -> tuple[str, Meaning | None]:
        state = self.state
        divisor = uart.COMS.get(addr - addr % serial.WIDTH, "") in state.divisor
        if (found := uart.register(addr, divisor)) is not None:
            com, register = found
            return f"{com} {register.named(direction)}", _meaning(register, size, direction)
        if addr == READ_ONCE:
            return _i8042_data(state.i8042, direction)
        if addr == rtc.DATA_PORT and state.cmos is not None:
            name = ports.CMOS.get(state.cmos, f"{state.cmos:#04x}")
            return f"CMOS {name}", _spelling(ports.CMOS_BITS.get(state.cmos, ())) if size == 1 else None
        if PCI_ADDRESS <= addr < PCI_DATA and size != 4 and addr != PCI_ADDRESS + 1:
            # Probes for what was there before mechanism 1, and the upper bytes of its address.
            return ports.PORTS[addr].name, None
        if PCI_DATA <= addr < PCI_DATA + 4 and state.pci is not None:
            register = pci.configuration(pci.selected(state.pci) + addr - PCI_DATA)
            return f"PCI {register.name}", _meaning(register, size, direction)
        if addr in (0x21, 0xA1) and direction == WRITE and (words := state.icw2 if addr == 0xA1 else state.icw1):
            return f"PIC{1 + (addr == 0xA1)} {words[0]}", partial(_icw_meaning, words[0], addr == 0xA1)
        register_ = ports.PORTS.get(addr)
        if register_ is None:
            return "", None
        return register_.named(direction), _meaning(register_, size, direction)

    def _memory(self, addr: int, size: int, direction: str, device: str) -> tuple[str, Meaning | None]:
        found = mmio.register(addr, device)
        if kind_of(device) == "vmgenid":
            return "generation ID", None
        if found is None:
            return "", None
        chip, register = found
        if chip == "IOAPIC" and register.name == "data" and (index := self.state.ioapic) is not None:
            low = index >= 0x10 and not index & 1
            return f"IOAPIC {mmio.ioapic_index(index)}", _spelling(mmio.REDIRECTION) if low else None
        return f"{chip} {register.named(direction)}", _meaning(register, size, direction)


def place(reason: str, addr: int, device: str = "") -> str:
    """The place of an access without a better name: "port 0x511", "virtio0 0xd0000100"; "" for other exits."""
    match reason:
        case "io":
            where = f"port {addr:#x}"
        case "mmio":
            where = f"{addr:#x}"
        case "unknown":  # not known to this version of vmrun
            return f"KVM exit {addr}"
        case _:
            return ""
    return where if device in ("", NO_DEVICE) else f"{device} {where}"


def named(reason: str, addr: int, size: int = 1, direction: str = "", device: str = "", within: str = "") -> str:
    """The target of an access: its :func:`name`, or without one ``within``, its place in a region of the device
    (:class:`tracer.decode.regions.Regions`), or without that its :func:`place`."""
    return name(reason, addr, size, direction, device) or within or place(reason, addr, device)


def name(reason: str, addr: int, size: int = 1, direction: str = "", device: str = "") -> str:
    """The name of a port, a memory-mapped register or an MSR, "" if it has no known name.

    Without a direction, both names of a register that has two: "COM1 RBR/THR".
    """
    return Decoder().register(reason, addr, size, direction, device)[0]


def value(reason: str, addr: int, data: int, size: int = 1, direction: str = READ, device: str = "") -> str:
    """The meaning of a value read from or written to a register: "THRE|TEMT"; "" if it is just a number."""
    return Decoder().decode(reason, addr, size, direction, data, device)[1]


def decoded(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Names and meanings of rows of a trace (with reason, addr, size, direction, data, device), in its order."""
    decoder = Decoder()
    return [
        decoder.decode(row["reason"], row["addr"], row["size"], row["direction"], first_item(row), row["device"])
        for row in rows
    ]


def first_item(row: dict[str, Any]) -> int:
    """The first item that a row moved, without later ones of string I/O; an MSR's whole value."""
    size = row["size"]
    return int(row["data"] & (1 << 8 * size) - 1 if 0 < size < 8 else row["data"])


def _claimed(device: str, direction: str) -> tuple[str, Meaning | None] | None:
    """The name for a device that may be at any port; None if the port implies the name."""
    match kind_of(device):
        case "debug-port":
            return "debug port", lambda data: character(data & 0xFF, direction)
        case "debug-exit":
            return "debug exit", (lambda data: f"status {exit_status(data)}") if direction == WRITE else None
        case "pvpanic":
            return "pvpanic events", lambda data: spelled(data & 0xFF, ports.PVPANIC)
        case "tsc":
            return "TSC", None
        case "python":
            return "", None
    return None


def _meaning(register: Register, size: int, direction: str) -> Meaning | None:
    """The meaning of an access as wide as the register; a wider or narrower one does not carry its value."""
    if size != register.size or direction not in (READ, WRITE):
        return None
    if register.meaning is None:
        return _spelling((register.read_bits if direction == READ else register.write_bits) or register.bits)
    return partial(_means, register.meaning, direction)


def _means(meaning: Callable[[int, str], str], direction: str, data: int) -> str:
    return meaning(data, direction)


def _spelling(bits: Bits) -> Meaning | None:
    return partial(spelled, bits=bits) if bits else None


def _set_up_words(icw1: int) -> tuple[str, ...]:
    """The words that follow ICW1 (8259A: ICW3 in cascade mode, ICW4 if it says so)."""
    return ("ICW2", *(() if icw1 & 2 else ("ICW3",)), *(("ICW4",) if icw1 & 1 else ()))


def _i8042_data(command: int | None, direction: str) -> tuple[str, Meaning | None]:
    """Port 0x60: after a controller command its operand or its answer, else the keyboard's."""
    if (command, direction) in ((i8042.WRITE_COMMAND_BYTE, WRITE), (i8042.READ_COMMAND_BYTE, READ)):
        return "i8042 command byte", lambda data: spelled(data & 0xFF, ports.I8042_BYTE)
    if direction == WRITE and command in I8042_OPERANDS:
        return I8042_OPERANDS[command], None
    words = ports.KEYBOARD_COMMANDS if direction == WRITE else ports.KEYBOARD_ANSWERS
    known = command is None and direction in (READ, WRITE)
    return "i8042 data", (lambda data: words.get(data & 0xFF, "")) if known else None


def _icw_meaning(word: str, slave: bool, data: int) -> str:
    """8259A, "Initialization command words"."""
    value = data & 0xFF
    match word:
        case "ICW2":
            return f"vectors from {value & 0xF8:#x}"
        case "ICW3":
            return f"slave id {value & 7}" if slave else "slaves on " + spelled(value, ports.PORTS[0x21].bits)
    parts = [name for mask, name in ((1, "8086"), (2, "AEOI"), (8, "buffered"), (16, "special nested")) if value & mask]
    return " ".join(parts)


# Commands of the controller with an operand, and the operand's name.
I8042_OPERANDS = {
    i8042.WRITE_OUTPUT_PORT: "i8042 output port",
    i8042.WRITE_KEYBOARD_OUTPUT: "i8042 keyboard output",
    i8042.WRITE_AUXILIARY_OUTPUT: "i8042 aux output",
    i8042.WRITE_TO_AUXILIARY: "i8042 aux",
}
# Linux, include/uapi/linux/kvm_para.h.
HYPERCALLS = {
    1: "KVM_HC_VAPIC_POLL_IRQ",
    2: "KVM_HC_MMU_OP",
    5: "KVM_HC_KICK_CPU",
    9: "KVM_HC_CLOCK_PAIRING",
    10: "KVM_HC_SEND_IPI",
    11: "KVM_HC_SCHED_YIELD",
    12: "KVM_HC_MAP_GPA_RANGE",
}
REASONS = {
    "hlt": "halted",
    "shutdown": "triple fault",
    "fail_entry": "entry refused",
    "internal_error": "KVM cannot continue",
    "debug": "debug trap",
    "exception": "exception",
    "irq_window_open": "interrupts can be injected",
    "intr": "signal pending",
    "set_tpr": "TPR lowered",
    "tpr_access": "TPR access",
    "nmi": "NMI",
    "system_event": "system event",
    "ioapic_eoi": "EOI to the I/O APIC",
    "hyperv": "Hyper-V",
    "dirty_ring_full": "dirty ring full",
    "ap_reset_hold": "AP reset hold",
    "bus_lock": "bus lock",
    "xen": "Xen",
    "notify": "no VM exit for too long",
    "memory_fault": "memory fault",
    "tdx": "TDX call",
}
