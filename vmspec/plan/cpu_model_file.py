"""A CPU model's file: CPUID as a table of a TOML file, which ``vmspec cpuid`` writes."""

from pathlib import Path
from typing import Any

from attrs import field, frozen

from vmspec.schema.cpuid_leaves import Table as Leaves
from vmspec.schema.cpuid_table import CpuidTable
from vmspec.schema.problems import Problem, SpecError
from vmspec.schema.tables import Table, write_model
from vmspec.schema.toml_text import TomlText, contents
from vmspec.schema.value import Here, Model, TooManyProblemsError, key
from vmspec.schema.values import Integer

FORMAT = 1
LARGEST = 1 << 20  # bytes; a host has 50 leaves or so

HEAD = """\
# A CPU model for [cpu] in a spec, written by vmspec cpuid; see docs/lock.md of vmrun.
# Each leaf has EAX, EBX, ECX and EDX in hexadecimal.

"""


@frozen(eq=False, repr=False)
class CpuModel(Model):
    """What CPUID answers a guest. Leaves that are not given are zeros."""

    format: int = field(metadata=key(Integer(FORMAT, FORMAT), "the format of the file"))
    cpuid: Leaves = field(metadata=key(CpuidTable(), "the leaves"))


class CpuModelText(TomlText):
    """A CPU model as a text."""

    def __init__(self, text: str, file: Path | None = None) -> None:
        """Raises SpecError with every problem located."""
        super().__init__(text, file)
        here = Here(Path())
        model: Any = None
        try:
            model = Table(CpuModel).read(self.data, here)
        except TooManyProblemsError:
            pass  # those that were found are enough
        if model is None or here.problems:
            raise SpecError(self._located(here.problems))
        if not model.cpuid:
            raise SpecError((self.locate(Problem("cpuid", "has no leaf")),))
        self.leaves: Leaves = model.cpuid


def load(path: Path) -> Leaves:
    """The leaves of a model's file. Raises SpecError."""
    return CpuModelText(contents(path, LARGEST, "a CPU model"), path).leaves


def dumps(leaves: Leaves) -> str:
    """The model as TOML."""
    import tomli_w

    return HEAD + tomli_w.dumps(write_model(CpuModel(FORMAT, leaves)))
