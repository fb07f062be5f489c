"""The cost of analysing long traces: time per row and peak memory, at 1, 10 and, on request, 100 million rows.

``VMRUN_BENCH_ROWS=100000000 make bench`` adds a size; its trace takes about 8 bytes a row in build/bench.
"""

import os

from tests.bench import longtrace
from tests.bench.command import cost, vmtrace
from tests.bench.figure import Figure

SIZES = (1_000_000, 10_000_000)
COMMANDS = ("summary", "timeline", "hot")
NS_MAX = 20.0  # a row: 50 million rows a second
MIB_MAX = 1024.0


def measure() -> list[Figure]:
    """Each command on each size, in a process of its own."""
    figures = []
    extra = os.environ.get("VMRUN_BENCH_ROWS")
    for rows in (*SIZES, *([int(extra)] if extra else [])):
        path = longtrace.trace(rows)
        for command in COMMANDS:
            spent = cost(vmtrace(command, path))
            name = f"vmtrace {command}, {rows / 1e6:g} million rows"
            large = rows > SIZES[0]  # below that, the start of Python is most of it
            figures.append(Figure(name, spent.seconds / rows * 1e9, "ns/row", NS_MAX if large else None))
            figures.append(Figure(f"{name}: CPU", spent.cpu / rows * 1e9, "ns/row"))
            figures.append(Figure(f"{name}: peak memory", spent.peak, "MiB", MIB_MAX))
    return figures
