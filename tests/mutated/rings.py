"""Mutated ring files, alone and beside a stream, and their recovery."""

import random
import struct
from pathlib import Path

from tests.fakes.requestfakes import record_of
from tests.fakes.tracefakes import Rings, numbered
from tests.mutated import bytesmutation
from tests.mutated.watch import statuses
from vmspec.trace.files import table_path
from vmspec.trace.record import HEADER, PAGE, RING

REQUESTS_AT = 2 * PAGE + 2 * (PAGE + 64 * 64 + 4096)
PLACES = (
    *range(0, 8 * len(HEADER), 8),
    *(2 * PAGE + vcpu * (PAGE + 64 * 64 + 4096) + 8 * field for vcpu in range(2) for field in range(len(RING))),
    *(3 * PAGE + 8 * word for word in range(160)),
    *range(PAGE, PAGE + 300, 7),
    *(REQUESTS_AT + 8 * field for field in range(len(RING))),
    *(REQUESTS_AT + PAGE + 8 * word for word in range(80)),
)


class RingFiles:
    """Good ring files, and mutations of them."""

    def __init__(self, folder: Path) -> None:
        from tests.fakes.tracefakes import DEVICES, METADATA, pytest_fail
        from tracer.record.recorder import Recorder

        self.folder = folder
        self.ring, self.stream, self.trace = (folder / f"x.{suffix}" for suffix in ("ring", "arrows", "arrow"))
        rings = Rings(2, file=folder / "good.ring", requests=[record_of(number) for number in range(30)])
        recorder = Recorder(folder / "good.arrow", rings, lambda: METADATA, DEVICES, pytest_fail)
        recorder.start()
        for number in range(40):
            for vcpu in range(2):
                rings.produce(vcpu, numbered(vcpu, number))
        while any(rings.get(vcpu, "tail") < 40 for vcpu in range(2)):
            pass
        recorder.stop()
        for number in range(40, 70):
            for vcpu in range(2):
                rings.produce(vcpu, numbered(vcpu, number))
        rings.memory.flush()
        self.rings = (folder / "good.ring").read_bytes()
        self.rows = (folder / "good.arrows").read_bytes()

    def mutate(self, rng: random.Random) -> str:
        """Write a mutated ring file, and in some cases a stream beside it; returns what was done."""
        for path in (self.ring, self.stream, self.trace, table_path(self.trace, "requests")):
            path.unlink(missing_ok=True)
        data = bytesmutation.mutated(rng, self.rings, PLACES)
        if rng.random() < 0.02:
            changed = bytearray(data.ljust(80, b"\0"))
            struct.pack_into("<QQQ", changed, 16, rng.choice((1, 65536, 2**63)), rng.choice((64, 2**40)), 2**30)
            data = bytes(changed)
        self.ring.write_bytes(data)
        if rng.random() < 0.02:
            with self.ring.open("r+b") as file:
                file.truncate(1 << 36)  # sparse
        if rng.random() < 0.5:
            self.stream.write_bytes(self.rows if rng.random() < 0.7 else bytesmutation.mutated(rng, self.rows))
            return "with a stream"
        return "alone"

    def check(self, rng: random.Random) -> None:
        """Recover, and read what it gave."""
        status, _, err = statuses("vmtrace", ["recover", str(rng.choice((self.ring, self.stream, self.trace)))])
        assert status in (0, 2), f"status {status}"
        assert (status == 0) == self.trace.exists(), f"status {status}: {err}"
        if status == 0:
            for command in rng.sample(
                (["info"], ["summary", "--json"], ["events"], ["console"], ["timeline", "--json"]), 1
            ):
                status, _, err = statuses("vmtrace", [*command, str(self.trace)])
                assert status == 0, f"{command}: {err}"
