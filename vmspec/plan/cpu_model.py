"""CPU models: what of a CPUID table must be no more than a host has, and the greatest table that several hosts have.

Registers are of four kinds (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Documentation/virt/kvm/x86/
cpuid.rst). Bits: each is a feature. Numbers: larger ones promise more. Layout: the processor's own, which must be the
same: its vendor, where XSAVE has each component, the size of AMX's tiles. All others describe the processor, and may
say anything.
"""

from collections.abc import Iterable, Iterator
from functools import reduce

from vmspec.plan.features import FEATURES, Bit
from vmspec.registers import cpuid as R
from vmspec.schema.cpuid_leaves import NOTHING, Answer, Leaf, Table, table

_PERFORMANCE, _TRACE, _TILES, _TMUL = 0xA, 0x14, 0x1D, 0x1E
_TILE_DATA = 18  # its component of XSAVE
_HYPERVISOR, _HYPERVISOR_FEATURES = 0x40000000, 0x40000001  # KVM's own
# Registers of bits, beside those with a name in FEATURES.
_BITS = {
    *((R.FEATURES, 1, register) for register in Answer._fields),
    (R.FEATURES, 2, "edx"),
    (R.XSAVE, 0, "eax"), (R.XSAVE, 0, "edx"),  # the components, XCR0
    (R.XSAVE, 1, "eax"), (R.XSAVE, 1, "ecx"), (R.XSAVE, 1, "edx"),  # XSAVEOPT and so on; the components, XSS
    (R.EXTENDED_FEATURES, 0, "ecx"), (R.EXTENDED_FEATURES, 0, "edx"),
    (R.POWER, 0, "edx"),
    (R.ADDRESS_SIZES, 0, "ebx"),
    (_TRACE, 0, "ebx"), (_TRACE, 0, "ecx"),
    (0x8000001F, 0, "eax"),  # memory encryption
    (0x80000021, 0, "eax"),
    (0x80000022, 0, "eax"),  # performance monitoring
    (_HYPERVISOR_FEATURES, 0, "eax"),
} | {(bit.function, bit.leaf_index, bit.register) for bit in FEATURES.values()}  # fmt: skip
# Registers of numbers, with the width of each number in bits.
_NUMBERS = {
    (R.VENDOR, 0, "eax"): 32,  # the highest leaf
    (R.FEATURES, 0, "eax"): 32,  # the highest subleaf
    (_PERFORMANCE, 0, "eax"): 8,  # version, counters, their bits, kinds of events
    (_PERFORMANCE, 0, "edx"): 32,  # fixed counters
    (R.EXTENDED, 0, "eax"): 32,
    (_HYPERVISOR, 0, "eax"): 32,
    (R.ADDRESS_SIZES, 0, "eax"): 8,  # physical, linear, the guest's physical
}
# What vmrun, not the host, decides (runner/x86/cpuid.py).
_IGNORED = {
    (R.VERSION, "ecx"): 1 << FEATURES["tsc_deadline_timer"].bit | 1 << FEATURES["hypervisor"].bit,
    (R.VERSION, "edx"): 1 << 28,  # HTT
    (R.EXTENDED_FEATURES, "ecx"): 1 << 1,  # CMP_LEGACY
}


def lacking(model: Table, host: Table) -> Iterator[str]:
    """What of a model a host lacks, each as words that follow "the host lacks"."""
    for leaf, answer in model.items():
        has = host.get(leaf, NOTHING)
        for register, wanted, there in zip(Answer._fields, answer, has, strict=True):
            where = (leaf.function, leaf.subleaf or 0, register)
            if where in _BITS:
                missing = wanted & ~there & ~_IGNORED.get((leaf.function, register), 0)
                for bit in range(32):
                    if missing >> bit & 1:
                        yield _name(where, bit)
            elif where in _NUMBERS:
                if any(one > other for one, other in zip(*(_parts(n, where) for n in (wanted, there)), strict=True)):
                    yield f"leaf {leaf} {register} of {wanted:#x}: it has {there:#x}"
            elif _is_layout(where) and wanted != there:
                yield f"leaf {leaf} {register} of {wanted:#x}: it has {there:#x}, which must be the same"


def common(models: Iterable[Table]) -> Table:
    """The greatest model that is no more than each of the given ones has. What describes the processor is the first
    one's. Raises ValueError, which says what one lacks, if there is none: two vendors, or another layout of XSAVE."""
    return reduce(_both, models)


def _both(one: Table, other: Table) -> Table:
    found = {}
    for leaf, answer in one.items():
        registers = []
        for register, mine, theirs in zip(Answer._fields, answer, other.get(leaf, NOTHING), strict=True):
            where = (leaf.function, leaf.subleaf or 0, register)
            if where in _BITS:
                registers.append(mine & theirs)
            elif (width := _NUMBERS.get(where)) is not None:
                parts = (min(pair) for pair in zip(_parts(mine, where), _parts(theirs, where), strict=True))
                registers.append(sum(part << at * width for at, part in enumerate(parts)))
            else:
                registers.append(mine)
        found[leaf] = Answer(*registers)
    components = found.get(Leaf(R.XSAVE, 0), NOTHING), found.get(Leaf(R.XSAVE, 1), NOTHING)
    usable = components[0].eax | components[0].edx << 32 | components[1].ecx | components[1].edx << 32
    for leaf in [*found]:
        if leaf.function == R.XSAVE and (leaf.subleaf or 0) > 1 and not usable >> (leaf.subleaf or 0) & 1:
            del found[leaf]
        if leaf.function in (_TILES, _TMUL) and not usable >> _TILE_DATA & 1:
            del found[leaf]
    if problems := [*lacking(found, other)]:
        raise ValueError(problems[0])
    return table(found.items())


def _parts(number: int, where: tuple[int, int, str]) -> tuple[int, ...]:
    width = _NUMBERS[where]
    return tuple(number >> at & (1 << width) - 1 for at in range(0, 32, width))


def _is_layout(where: tuple[int, int, str]) -> bool:
    function, subleaf, register = where
    if function == R.VENDOR:
        return register != "eax"
    if function in (_TILES, _TMUL):
        return True
    return function == R.XSAVE and subleaf > 1 and register in ("eax", "ebx")


def _name(where: tuple[int, int, str], bit: int) -> str:
    function, subleaf, register = where
    name = next((name for name, known in FEATURES.items() if known == Bit(function, subleaf, register, bit)), "")
    return (
        f"{name} (leaf {Leaf(function, subleaf or None)} {register}, bit {bit})"
        if name
        else (f"bit {bit} of {register} in leaf {Leaf(function, subleaf or None)}")
    )
