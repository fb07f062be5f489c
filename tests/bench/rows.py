"""The cost of printing every exit and of SQL: CPU per row, without Python's start, beside plain DuckDB."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import longtrace
from tests.bench.command import cost, vmtrace
from tests.bench.figure import Figure

PRINTED, ASKED = 1_000_000, 10_000_000
RUNS = 3
FORMS = {
    "events": (),
    "events --json": ("--json",),
    "events --where, half of the rows": ("--where", "size == 1 and direction == 'write'"),
    "events --where over names, half of the rows": ("--where", "what == 'COM1 LSR'"),
}
ASK = "SELECT reason, device, count(*), sum({handling}) FROM {rows} GROUP BY ALL"
# The way of the trace format's documentation.
PLAIN = """
import sys, duckdb, pyarrow
rows = pyarrow.ipc.open_file(sys.argv[1]).read_all()
print(duckdb.sql(sys.argv[2]))
"""


def measure() -> list[Figure]:
    """Each form on the same trace; the question in SQL by both programs, in turn."""
    path, one = longtrace.trace(PRINTED), longtrace.trace(1)
    figures = []
    for name, options in FORMS.items():
        spent = cpu(vmtrace("events", path, *options)) - cpu(vmtrace("events", one, *options))
        figures.append(Figure(f"vmtrace {name}, of {PRINTED / 1e6:g} million: CPU", spent / PRINTED * 1e6, "us/row"))
    path = longtrace.trace(ASKED)
    turns = [[cost(program(at)).cpu for program in (sql, duckdb) for at in (path, one)] for _ in range(RUNS)]
    least = [min(turn[number] for turn in turns) for number in range(4)]
    ours, plain = least[0] - least[1], least[2] - least[3]
    number = f"{ASKED / 1e6:g} million rows"
    return [
        *figures,
        Figure(f"plain DuckDB, a group-by over {number}: CPU", plain / ASKED * 1e9, "ns/row"),
        Figure("vmtrace sql, the same: CPU", ours / ASKED * 1e9, "ns/row"),
        Figure("vmtrace sql / plain DuckDB", ours / plain, "ratio", 1.0),
    ]


def sql(path: Path) -> list[str]:
    """The question, to ``vmtrace sql``."""
    return vmtrace("sql", path, ASK.format(handling="handling_ns", rows="exits"))


def duckdb(path: Path) -> list[str]:
    """The question, to DuckDB over the table that pyarrow reads."""
    return [sys.executable, "-c", PLAIN, str(path), ASK.format(handling="t_entry - t_exit", rows="rows")]


def cpu(command: Sequence[str]) -> float:
    """CPU seconds, the least of a few runs."""
    return min(cost(command).cpu for _ in range(RUNS))
