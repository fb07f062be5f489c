"""The crash report: what the vCPU did when the guest died, for people."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runner.kvm.errors import KvmError
from runner.kvm.vcpu import Registers
from runner.machine.machine import Machine
from runner.machine.vcpu import Kept, VcpuThread
from runner.recording.rings import Rings
from runner.session.symbols import symbol_at
from runner.x86.mode import mode, width
from runner.x86.state import is_reset
from vmspec.plan.calls import Run
from vmspec.trace.record import DIRECTIONS, FLAGS, REASONS

BYTES = 16  # an x86 instruction has at most 15
LAST_EXITS = 16


def code_at(machine: Machine, thread: VcpuThread, address: int, length: int = BYTES) -> bytes:
    """Guest memory at a linear address, up to the first byte that is not mapped RAM."""
    data = b""
    for at in range(address, address + length):
        try:
            physical = thread.vcpu.translate(at & (1 << 64) - 1)  # the guest's RIP may have any value
            data += machine.memory.read(physical, 1) if physical is not None else b""
        except (ValueError, KvmError):
            break
        if len(data) <= at - address:
            break
    return data


def disassemble(code: bytes, bits: int, address: int) -> str | None:
    """The instruction at the start of ``code``; None without the capstone library (extra "disasm")."""
    try:
        import capstone
    except ImportError:
        return None
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    for instruction in capstone.Cs(capstone.CS_ARCH_X86, modes[bits]).disasm(code, address, 1):
        return f"{instruction.mnemonic} {instruction.op_str}".strip()
    return None


def report(machine: Machine, thread: VcpuThread, rings: Rings, detail: str) -> str:
    """The whole report."""
    step = next((n for n, call in enumerate(machine.plan.calls, 1) if isinstance(call, Run)), 0)
    lines = [detail, "", f"plan step {step}, KVM_RUN of vCPU {thread.index}"]
    registers: Registers | None = thread.vcpu.registers()
    if registers and is_reset(registers.state):
        kept = thread.kept()
        lines += ["", *reset_lines(kept, rings, thread.index)]
        registers = kept.registers if kept else None
        if kept:
            with suppress(KvmError):
                thread.vcpu.set_sregs(kept.registers.state)  # so that KVM translates with its page tables
    if registers:
        lines += ["", *code_lines(machine, thread, registers), "", *register_lines(registers)]
    lines += ["", f"last exits of vCPU {thread.index}, newest last:"]
    lines += [f"  {text}" for text in exit_lines(machine, rings, thread.index)]
    return "\n".join(lines) + "\n"


def reset_lines(kept: Kept | None, rings: Rings, index: int) -> Iterable[str]:
    """The lines for a vCPU that is in the state after INIT, and for the registers that follow."""
    yield "The vCPU is in the state after a reset: CS:RIP f000:fff0, real mode (Intel SDM volume 3, table 10-1)."
    yield "On AMD processors KVM resets a vCPU at a shutdown, before vmrun sees it: its registers are lost."
    if kept is None:
        yield "No earlier ones were kept: there was no exit before, or the host's KVM lacks KVM_CAP_SYNC_REGS."
        yield "A guest that never left the reset state looks the same."
        return
    clock, newest = rings.clock(), rings.last(index, 1)
    before = (kept.general - clock["tsc_start"]) / clock["tsc_khz"]  # ms, like its row's t_exit
    ago = f", {newest[0]['t_exit'] / 1e6 - before:.3f} ms earlier" if newest else ""
    yield f"The state below is the guest's at the previous exit{ago}; the fault lies between that exit and the end."
    if kept.system != kept.general:
        earlier = (kept.general - kept.system) / clock["tsc_khz"]
        yield f"Its control registers, segments and tables are from an exit another {earlier:.3f} ms earlier."


def code_lines(machine: Machine, thread: VcpuThread, registers: Registers) -> Iterable[str]:
    """The mode, and the code that RIP points to."""
    general, cs = registers.general, registers.state.segments["cs"]
    address = cs.base + general["rip"]
    yield mode(registers.state)
    code = code_at(machine, thread, address)
    if code:
        instruction = disassemble(code, width(registers.state), general["rip"])
        yield f"at {address:#x}: {code.hex(' ')}" + (f"   {instruction}" if instruction else "")
    else:
        yield f"at {address:#x}: no mapped RAM"
    if name := symbol_at(machine.loader.symbols(), general["rip"]):
        yield f"in {name}"


def register_lines(registers: Registers) -> Iterable[str]:
    """All registers, three general ones per line."""
    names = list(registers.general)
    for at in range(0, len(names), 3):
        yield "  ".join(f"{name:>6} {registers.general[name]:016x}" for name in names[at : at + 3])
    state = registers.state
    yield f"   cr0 {state.cr0:016x}     cr2 {registers.cr2:016x}     cr3 {state.cr3:016x}"
    yield f"   cr4 {state.cr4:016x}    efer {state.efer:016x}"
    for name, segment in state.segments.items():
        text = f"   {name:>3} {segment.selector:04x}  base {segment.base:016x}  limit {segment.limit:08x}"
        yield f"{text}  type {segment.type:x}  dpl {segment.dpl}" + ("" if segment.present else "  not present")
    yield f"   gdt base {state.gdt.base:016x} limit {state.gdt.limit:04x}"
    yield f"   idt base {state.idt.base:016x} limit {state.idt.limit:04x}"


def exit_lines(machine: Machine, rings: Rings, index: int) -> Iterable[str]:
    """The newest exits, one line each."""
    for record in rings.last(index, LAST_EXITS):
        text = f"#{record['seq']} {record['t_exit'] / 1e6:.3f} ms {REASONS[record['reason']]}"
        if record["count"]:
            text += f" {DIRECTIONS[record['direction']]} {record['addr']:#x} size {record['size']}"
            text += f" data {record['data']:#x}" + (f" x{record['count']}" if record["count"] > 1 else "")
        if record["device"] >= 0:
            text += f" {machine.plan.devices[record['device']].name}"
        elif record["flags"] & FLAGS["UNCLAIMED"]:
            text += " unclaimed"
        if record["flags"] & FLAGS["RIP"]:
            text += f" rip {record['rip']:#x}"
        yield text


def save(text: str, path: Path) -> Path:
    """Write the report; returns its path."""
    path.write_text(text)
    return path
