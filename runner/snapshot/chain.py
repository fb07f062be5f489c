"""A snapshot with those that it is based on."""

import itertools
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from runner.snapshot.contents import Base, Contents, Extent, File
from runner.snapshot.errors import SnapshotError
from runner.snapshot.snapshotfile import LONGEST, Snapshot
from vmspec.host.pathtext import from_text, to_text
from vmspec.plan.plan import Plan

MOST = 64  # snapshots in a chain


class Part(NamedTuple):
    """A part of a snapshot."""

    snapshot: Snapshot
    extent: Extent


class Chain:
    """Open snapshots, each based on the one before it; the last is the one in the file ``path``. Raises SnapshotError
    if one of them is missing, or is not the one that the next is based on."""

    def __init__(self, path: Path) -> None:
        self.snapshots = [Snapshot(path)]
        try:
            while (base := self.snapshots[0].contents.base) is not None:
                self.snapshots.insert(0, self._opened(base, self.snapshots[0].path))
            for one in self.snapshots:
                if (why := self.unlike(one.contents.plan, one.contents.files)) is not None:
                    raise SnapshotError(f"{one.path} is not of the machine of {path}: it has other {why}")
        except BaseException:
            self.close()
            raise

    @property
    def contents(self) -> Contents:
        """What the machine is that goes on."""
        return self.snapshots[-1].contents

    @property
    def newest(self) -> Snapshot:
        """The one that the others are only for."""
        return self.snapshots[-1]

    def _opened(self, base: Base, user: Path) -> Snapshot:
        """The base of the snapshot in the file ``user``: beside it, or where it was."""
        if len(self.snapshots) >= MOST:
            raise SnapshotError(f"{user} is based on a chain of {MOST} snapshots or more")
        try:
            where = from_text(base.path)
        except ValueError as error:
            raise self.snapshots[0].damaged(f"the path of its base {error}") from error
        why = ""
        for path in (user.parent / where.name, where):
            try:
                snapshot = Snapshot(path)
            except SnapshotError as error:
                why = why or str(error)
                continue
            if snapshot.crc32 == base.crc32:
                return snapshot
            snapshot.close()
            why = f"{path} is another one"
        raise SnapshotError(f"{user} is based on another snapshot, which is neither beside it nor where it was: {why}")

    def as_base(self) -> Base:
        """How the next one names it."""
        return Base(to_text(os.path.realpath(self.newest.path)), self.newest.crc32)

    def unlike(self, plan: Plan, files: Sequence[File]) -> str | None:
        """What makes another machine of one with this plan and these files; None: nothing."""
        ours = self.contents.plan
        if [(slot.start, slot.size) for slot in plan.slots] != [(slot.start, slot.size) for slot in ours.slots]:
            return "memory"
        if [(one.name, one.kind) for one in plan.devices] != [(one.name, one.kind) for one in ours.devices]:
            return "devices"
        if [(file.where, file.size) for file in files] != [(file.where, file.size) for file in self.contents.files]:
            return "disks"
        return None

    def check(self, goes_on: Callable[[], None] = lambda: None) -> None:
        """Whether all is as it was written. ``goes_on`` may raise to give up. Raises SnapshotError."""
        check(self.memory(), goes_on)
        for written in self.contents.written:
            check(self.written(written.device), goes_on)

    def memory(self) -> list[Part]:
        """The parts of the guest's memory; a later one is over those before it."""
        return [Part(one, extent) for one in self.snapshots for extent in one.contents.memory]

    def written(self, device: str) -> list[Part]:
        """The same of what the guest has written to a device's contents."""
        return [
            Part(one, extent)
            for one in self.snapshots
            for written in one.contents.written
            if written.device == device
            for extent in written.extents
        ]

    def close(self) -> None:
        """Close the files; memory that is mapped from them stays."""
        for one in self.snapshots:
            one.close()


def check(parts: Sequence[Part], goes_on: Callable[[], None] = lambda: None) -> None:
    """Whether the bytes of parts are those that were written, several at once: neither reading nor CRC-32 needs the
    interpreter. ``goes_on`` may raise to give up. Raises SnapshotError."""

    def checked(some: Sequence[Part]) -> None:
        for part in some:
            goes_on()
            part.snapshot.check(part.extent)

    bundles = list(_bundles(parts))
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(checked, bundles))
    except RuntimeError:  # the host has no threads to spare
        for some in bundles:
            checked(some)


def _bundles(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts that are worth a thread."""
    ends = itertools.accumulate(part.extent.size for part in parts)
    for _, some in itertools.groupby(zip(parts, ends, strict=True), lambda each: each[1] // LONGEST):
        yield [part for part, _ in some]


class Place:
    """What a chain has in one place: in the guest's memory, or in a device's contents. It has nothing without parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._layers = []
        for snapshot, some in itertools.groupby(parts, lambda part: part.snapshot):
            extents = [part.extent for part in some]
            self._layers.append((snapshot, extents, [extent.address for extent in extents]))

    def over(self, at: int, data: bytes) -> tuple[bytes, bool]:
        """``data``, which begins at ``at``, with what the chain has there; and whether the chain has all of it."""
        result, found = None, []
        for snapshot, extents, addresses in self._layers:
            for number in range(max(0, bisect_right(addresses, at) - 1), len(extents)):
                extent = extents[number]
                if extent.address >= at + len(data):
                    break
                start, end = max(at, extent.address), min(at + len(data), extent.address + extent.size)
                if start < end:
                    result = result or bytearray(data)
                    snapshot.read(extent, start, memoryview(result)[start - at : end - at])
                    found.append((start, end))
        reached = at
        for start, end in sorted(found):
            if start > reached:
                break
            reached = max(reached, end)
        return data if result is None else bytes(result), reached == at + len(data)
