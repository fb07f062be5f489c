"""The mode of a processor, from its registers."""

from runner.x86.state import State
from vmspec.registers import system as R


def mode(state: State) -> str:
    """The mode in words (Intel SDM volume 3, 2.2)."""
    cs = state.segments["cs"]
    if not state.cr0 & R.CR0_PE:
        return "real mode, 16-bit"
    if state.registers["rflags"] & R.RFLAGS_VM:
        return "virtual-8086 mode, 16-bit"
    paging = "paging on" if state.cr0 & R.CR0_PG else "paging off"
    kind = "long mode" if state.efer & R.EFER_LMA else "protected mode"
    return f"{kind}, {width(state)}-bit code, {paging}, CPL {cs.selector & 3}"


def width(state: State) -> int:
    """Bits of the code's operands and addresses (Intel SDM volume 3, 3.4.5, the L and D/B flags)."""
    cs = state.segments["cs"]
    return 64 if cs.long and state.efer & R.EFER_LMA else 32 if cs.db else 16
