"""The target description: the registers as XML, for gdb (gdb manual, appendix G)."""

from collections.abc import Mapping, Sequence

from runner.control.gdb.layout import EFLAGS, FLAGS, MXCSR, Register

HEAD = '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n<target version="1.0">\n'
# The elements of vec128, as gdb's own description of SSE names them.
VECTORS = {
    "v4_float": ("ieee_single", 4),
    "v2_double": ("ieee_double", 2),
    "v16_int8": ("int8", 16),
    "v8_int16": ("int16", 8),
    "v4_int32": ("int32", 4),
    "v2_int64": ("int64", 2),
}


def description(registers: Sequence[Register], wide: bool) -> bytes:
    """The XML document; ``wide``: the registers of 64-bit code."""
    lines = [f"<architecture>{'i386:x86-64' if wide else 'i386'}</architecture>"]
    for feature in dict.fromkeys(register.feature for register in registers):
        found = [register for register in registers if register.feature == feature]
        lines.append(f'<feature name="{feature}">')
        for kind in dict.fromkeys(register.kind for register in found):
            lines += _type(kind, next(register.bits for register in found if register.kind == kind))
        lines += [f'<reg name="{name}" bitsize="{bits}" type="{kind}"/>' for name, bits, kind, *_ in found]
        lines.append("</feature>")
    return (HEAD + "\n".join(lines) + "\n</target>\n").encode()


def _type(kind: str, bits: int) -> list[str]:
    """The definition of a type that gdb does not know."""
    match kind:
        case "vec128":
            lines = [f'<vector id="{name}" type="{of}" count="{count}"/>' for name, (of, count) in VECTORS.items()]
            lines += ['<union id="vec128">', *(f'<field name="{name}" type="{name}"/>' for name in VECTORS)]
            return [*lines, '<field name="uint128" type="uint128"/>', "</union>"]
        case "i386_eflags":
            return _flags(kind, 4, EFLAGS)
        case "i386_mxcsr":
            return _flags(kind, 4, MXCSR)
        case _ if kind.startswith("x86_"):
            return _flags(kind, bits // 8, FLAGS[kind.removeprefix("x86_")])
    return []


def _flags(name: str, size: int, bits: Mapping[str, int]) -> list[str]:
    fields = [f'<field name="{bit}" start="{at}" end="{at}"/>' for bit, at in bits.items()]
    return [f'<flags id="{name}" size="{size}">', *fields, "</flags>"]
