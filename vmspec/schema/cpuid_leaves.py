"""CPUID's leaves and what it answers, as a table in the order of the leaves. Plain: the recorder imports it."""

from collections.abc import Iterable
from typing import NamedTuple


class Leaf(NamedTuple):
    """What CPUID is asked: EAX, and ECX if the leaf has subleaves."""

    function: int
    subleaf: int | None = None

    def __str__(self) -> str:
        return f"{self.function:#010x}" + ("" if self.subleaf is None else f".{self.subleaf}")


class Answer(NamedTuple):
    """What CPUID answers: 32 bits each."""

    eax: int
    ebx: int
    ecx: int
    edx: int

    def __str__(self) -> str:
        return " ".join(f"{register:08x}" for register in self)


Table = dict[Leaf, Answer]
NOTHING = Answer(0, 0, 0, 0)


def table(entries: Iterable[tuple[Leaf, Answer]]) -> Table:
    """The table of some leaves, in order, without those that are all zeros."""
    # None comes before all subleaves.
    known = sorted(entries, key=lambda entry: (entry[0].function, -1 if entry[0].subleaf is None else entry[0].subleaf))
    return {leaf: answer for leaf, answer in known if any(answer)}


def written(table: Table) -> dict[str, str]:
    """The table as TOML has it; see :class:`vmspec.schema.cpuid_table.CpuidTable`."""
    return {str(leaf): str(answer) for leaf, answer in table.items()}
