"""Backings of guest RAM compared: ``python -m tests.bench.memory``.

For anonymous memory and for a memfd: the time of the smallest guest from runner.run() to its result, the time to map 1
GiB and make it ready, and how much of it is in huge pages. Alternating runs, medians.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from runner import run
from runner.memory import GuestMemory
from vmspec import loads
from vmspec.plan.calls import Slot
from vmspec.plan.settings import PlannedMemory

ROUNDS = 9
BACKINGS = ("anonymous", "memfd")
GIB = 1 << 30
SPEC = '[vm]\nname = "small"\nmemory = "{}"\n[boot]\nmode = "real"\ncode = "f4"\n[memory]\nbacking = "{}"\n'


def small(backing: str, size: str) -> float:
    """Milliseconds of a guest that only halts."""
    spec = loads(SPEC.format(size, backing), Path.cwd())
    begin = time.perf_counter()
    run(spec)
    return (time.perf_counter() - begin) * 1e3


def whole(backing: str) -> tuple[float, float]:
    """Milliseconds until 1 GiB is ready, and how many MiB of it are huge pages."""
    begin = time.perf_counter()
    memory = GuestMemory((Slot(0, 0, GIB, 0),), PlannedMemory(backing, prefault=True))
    memory.ready()
    took = (time.perf_counter() - begin) * 1e3
    huge = sum(_huge(memory.host(0, 1)))
    memory.close()
    return took, huge / 1024


def _huge(start: int) -> Iterator[int]:
    """KiB of the mapping at ``start`` that are huge pages."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = int(line.partition("-")[0], 16) == start
        elif inside and line.startswith(("AnonHugePages:", "ShmemPmdMapped:")):
            yield int(line.split()[1])


def main() -> None:
    """Measure and print."""
    for size in ("1MiB", "1GiB"):
        times: dict[str, list[float]] = {backing: [] for backing in BACKINGS}
        for _ in range(ROUNDS):
            for backing in BACKINGS:
                times[backing].append(small(backing, size))
        for backing, values in times.items():
            print(f"run() of a guest of {size} that halts, {backing}: {statistics.median(values):.2f} ms")
    ready = {backing: [whole(backing) for _ in range(3)] for backing in BACKINGS}
    for backing, pairs in ready.items():
        took = statistics.median(took for took, _ in pairs)
        print(f"1 GiB made ready, {backing}: {took:.0f} ms, {pairs[-1][1]:.0f} MiB of it in huge pages")
    for name in ("enabled", "shmem_enabled"):
        print(f"transparent_hugepage/{name}: {Path('/sys/kernel/mm/transparent_hugepage', name).read_text().strip()}")


if __name__ == "__main__":
    main()
