"""CPUID as a table of a TOML file: a line for each leaf, such as ``"0x00000007.0" = "00000002 219c07ab ..."``.

A leaf is its number (EAX), and after a dot its subleaf (ECX) if it has some. The value is EAX, EBX, ECX and EDX, eight
hexadecimal digits each. A leaf that is all zeros is left out: the processor answers zeros for leaves that it lacks.
"""

import re
from typing import Any

from vmspec.schema.cpuid_leaves import Answer, Leaf, table, written
from vmspec.schema.value import Here, Schema, Value

LEAVES_MAX = 4096  # KVM has at most 256 (KVM_MAX_CPUID_ENTRIES)
LEAF = r"0x(?P<function>[0-9a-f]{8})(?:\.(?P<subleaf>0|[1-9][0-9]{0,3}))?"
ANSWER = r"[0-9a-f]{8}(?: [0-9a-f]{8}){3}"


class CpuidTable(Value):
    """A table of CPUID leaves."""

    allowed = 'a table of lines such as "0x00000007.0" = "00000002 00000000 00000000 00000000"'

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, dict):
            return here.wrong("must be a table", value, self.allowed)
        if len(value) > LEAVES_MAX:
            return here.wrong(f"has {len(value):,} leaves", None, f"up to {LEAVES_MAX:,}")
        entries = []
        for name, text in value.items():
            if (found := re.fullmatch(LEAF, name)) is None:
                here.at(name).wrong("is not a leaf", None, "a name such as 0x80000001 or 0x00000007.0")
            elif not isinstance(text, str) or re.fullmatch(ANSWER, text) is None:
                here.at(name).wrong(
                    "is not an answer of CPUID", text, "EAX, EBX, ECX, EDX, eight hexadecimal digits each"
                )
            else:
                subleaf = None if found["subleaf"] is None else int(found["subleaf"])
                registers = (int(register, 16) for register in text.split(" "))
                entries.append((Leaf(int(found["function"], 16), subleaf), Answer(*registers)))
        return table(entries)

    def write(self, value: Any) -> Any:
        return written(value)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "patternProperties": {
                rf"^{re.sub('[?]P<[a-z]+>', '', LEAF)}$": {"type": "string", "pattern": f"^{ANSWER}$"},
            },
            "additionalProperties": False,
        }
