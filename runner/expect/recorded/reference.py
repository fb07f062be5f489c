"""A run compared with a reference trace, as ``vmtrace diff`` compares two."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.expect.unmet import SHOWN, Unmet
from tracer.analysis.difference import Difference, compare
from tracer.format.errors import TraceError
from tracer.read.reader import Trace, load

KEY = "expect.reference"
VCPUS = 3  # that are described, at most
NUMBERS = "numbers"  # not a column: numbers in lines of the console


def unmet(path: Path, differ: Sequence[str], trace: Trace) -> Iterator[Unmet]:
    """Where the run of a trace is not that of the reference; ``differ`` is what may be different."""
    columns = [name for name in differ if name != NUMBERS]
    try:
        reference = load(path)
    except TraceError as error:
        yield Unmet(KEY, "a trace to compare with", str(error), "vmtrace info")
        return
    found = compare(reference, trace, columns, mask_numbers=NUMBERS in differ)
    if not found.same:
        options = f"--ignore {','.join(columns)} " * bool(columns) + "--mask-numbers " * (NUMBERS in differ)
        look = f"vmtrace diff {options}{shlex.quote(str(path))}"
        different = list(_different(found))
        more = [f"{len(different) - VCPUS:,} more vCPUs differ"] if len(different) > VCPUS else []
        yield Unmet(KEY, f"the same exits as in {path.name}", "; ".join((*different[:VCPUS], *more)), look)
    if "rip" not in (*columns, *found.columns):
        came = 'a trace was recorded without it: give differ = ["rip"] if it need not be compared'
        yield Unmet(KEY, f"the guest's RIP at each exit, here and in {path.name}", came, "vmtrace info")


def _different(found: Difference) -> Iterator[str]:
    """The first difference of each vCPU, in words."""
    for row in found.tables["vcpus"].to_pylist():
        if row["first_a"] is None:
            continue
        counts = ((row[name], name) for name in ("changed", "deleted", "inserted"))
        many = ", ".join(f"{count:,} {name}" for count, name in counts if count) or "they part"
        text = f"vCPU {row['vcpu']} differs from its exit {row['first_b']:,} on ({many}"
        text += f"; columns: {row['changed_columns']})" if row["changed_columns"] else ")"
        lines = [row[name] for name in ("console_a", "console_b")]
        if lines[0] != lines[1]:
            shown = ["nothing" if line is None else repr(line[:SHOWN]) for line in lines]
            text += f", where the reference prints {shown[0]} and this run {shown[1]}"
        yield text
