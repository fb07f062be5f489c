"""Aligns two traces, vCPU by vCPU, regardless of time: which rows are equal, and which differ between them.

Rows are compared in whole slices. In a slice that differs, changed rows are passed over if the following rows are equal
again. Otherwise a bounded window is searched for the nearest run of rows that both traces have. Memory is bounded by
the window and by :data:`WAITING`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tracer.analysis.meeting import END, WIDTH, hashes, meeting, pieces
from tracer.analysis.streams import Splitter, Stream
from tracer.read.reader import Trace

SLICE = 4096  # rows compared at once
RUN = 32  # equal rows in a row that end a difference
NEAR = 64  # rows that may have changed in place before a search starts
# Searches, each made if the one before found nothing: rows of the window, and rows of the run to find in it.
SEARCHES = ((512, RUN), (8192, RUN), (8192, 8))
LOST = 8  # consecutive windows without a meeting, after which two streams have nothing in common
KEPT = 1000  # blocks of each vCPU that are kept; the rest are only counted
WAITING = 1 << 20  # rows of all vCPUs that may wait for rows of the other trace


@frozen
class Block:
    """Rows that differ: ``rows_a`` rows of A from ``row_a`` correspond to ``rows_b`` rows of B from ``row_b``."""

    row_a: int
    rows_a: int
    row_b: int
    rows_b: int

    @property
    def kind(self) -> str:
        """deleted: only in A; inserted: only in B; changed: in both, but different."""
        return "changed" if self.rows_a and self.rows_b else "deleted" if self.rows_a else "inserted"

    @property
    def ends(self) -> tuple[int, int]:
        """The first row of A and of B after it."""
        return self.row_a + self.rows_a, self.row_b + self.rows_b


class Alignment:
    """How one vCPU's rows in A and in B correspond.

    ``equal`` counts the rows that are the same in both. ``blocks`` are the first differences, ``kinds`` counts all of
    them, ``changed``, ``deleted`` and ``inserted`` count their rows. ``columns`` counts the changed rows in which a
    column differs. ``unaligned`` are the rows of A and of B after the point at which aligning was given up, None if it
    was not.
    """

    def __init__(self, resync: int) -> None:
        self.a, self.b = Stream(), Stream()
        self.equal = self.changed = self.deleted = self.inserted = 0
        self.blocks: list[Block] = []
        self.kinds: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self.unaligned: tuple[int, int] | None = None
        self._left = resync  # searches left
        self._search: int | None = None  # index into SEARCHES of the search that waits for rows
        self._lost = 0
        self._last: Block | None = None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.blocks

    def advance(self) -> None:
        """Compare until rows of one side are missing that may still come."""
        while self._step():
            pass

    def _step(self) -> bool:
        """Make one step; return False if rows are missing."""
        a, b = self.a, self.b
        if self.unaligned is not None:
            self.unaligned = self.unaligned[0] + a.waiting, self.unaligned[1] + b.waiting
            a.drop(a.waiting)
            b.drop(b.waiting)
            return False
        if (a.finished and b.waiting) or (b.finished and a.waiting):
            self._search = None
            self._tail(a.waiting, b.waiting)
            return False
        if self._search is not None:
            return self._resynchronise(*SEARCHES[self._search])
        return bool(a.waiting and b.waiting) and self._compare()

    def _compare(self) -> bool:
        """Compare the heads of both streams up to the shorter one."""
        a, b = self.a, self.b
        count = min(a.head().num_rows, b.head().num_rows, SLICE)
        if not differing(a.head().slice(0, count), b.head().slice(0, count))[0]:
            self._same(count)
            self._lost = 0
            return True
        if any(not stream.ended and stream.waiting < SLICE for stream in (a, b)):
            return False  # the rows after the difference decide its kind
        count = min(a.waiting, b.waiting, SLICE)
        masks, mask = differing(a.window(count), b.window(count))
        at = 0
        while (first := mask.find(1, at)) >= 0:
            # Rows that changed in place are followed closely by a run of equal rows.
            end = mask.find(bytes(RUN), first, first + NEAR + RUN)
            if end < 0:
                self._same(first - at)
                if first == 0 or first + NEAR + RUN <= count:
                    self._search = 0
                return True
            self._in_place(masks, mask, at, end)
            at = end
        self._same(count - at)
        return True

    def _in_place(self, masks: Mapping[str, bytes], mask: bytes, at: int, end: int) -> None:
        """Pass over rows [at, end) of both, which are equal or changed as the masks say."""
        while at < end:
            first = mask.find(1, at, end)
            first = end if first < 0 else first
            self._same(first - at)
            at = mask.find(0, first, end)
            at = end if at < 0 else at
            if first < at:
                self.changed += at - first
                self.columns.update({name: found for name in masks if (found := masks[name].count(1, first, at))})
                self._differ(at - first, at - first)

    def _resynchronise(self, size: int, run: int) -> bool:
        """Find where the streams meet again within their first ``size`` rows."""
        a, b = self.a, self.b
        if any(not stream.ended and stream.waiting < size for stream in (a, b)):
            return False
        if self._left <= 0:
            self._give_up()
            return True
        self._left -= 1
        rows_a, rows_b = a.window(size), b.window(size)
        hash_a, hash_b = hashes(rows_a), hashes(rows_b)
        tails = [END * run if stream.ended and stream.waiting <= size else b"" for stream in (a, b)]
        met = meeting(hash_a + tails[0], hash_b + tails[1], run)
        if met is not None:
            self._lost, self._search = 0, None
            self._refine(rows_a, rows_b, hash_a[: met[0] * WIDTH], hash_b[: met[1] * WIDTH])
        elif self._search is not None and self._search + 1 < len(SEARCHES):
            self._search += 1
        else:
            self._lost, self._search = self._lost + 1, None
            self._replace(rows_a, rows_b)
            if self._lost == LOST:
                self._give_up()
        return True

    def _refine(self, rows_a: Any, rows_b: Any, hash_a: bytes, hash_b: bytes) -> None:
        """Split the difference before a meeting: some of its rows may be equal."""
        for alike, start_a, end_a, start_b, end_b in pieces(hash_a, hash_b):
            piece_a, piece_b = rows_a.slice(start_a, end_a - start_a), rows_b.slice(start_b, end_b - start_b)
            if alike:
                self._in_place(*differing(piece_a, piece_b), 0, piece_a.num_rows)
            else:
                self._replace(piece_a, piece_b)

    def _replace(self, rows_a: Any, rows_b: Any) -> None:
        """Record that rows of A correspond to rows of B; they are paired from the first on."""
        pairs = min(rows_a.num_rows, rows_b.num_rows)
        self.deleted += rows_a.num_rows - pairs
        self.inserted += rows_b.num_rows - pairs
        if pairs:
            masks, mask = differing(rows_a.slice(0, pairs), rows_b.slice(0, pairs))
            self.changed += mask.count(1)
            self.equal += mask.count(0)
            self.columns.update({name: found.count(1) for name, found in masks.items()})
        self._differ(rows_a.num_rows, rows_b.num_rows)

    def _same(self, count: int) -> None:
        self.equal += count
        self.a.drop(count)
        self.b.drop(count)

    def _differ(self, rows_a: int, rows_b: int) -> None:
        block = Block(self.a.row, rows_a, self.b.row, rows_b)
        last = self._last
        if last is not None and last.kind == block.kind != "changed" and last.ends == (block.row_a, block.row_b):
            # The rows after the other trace's end come in batches, but are one block.
            block = Block(last.row_a, last.rows_a + rows_a, last.row_b, last.rows_b + rows_b)
            if self.blocks[-1] == last:
                self.blocks[-1] = block
        else:
            self.kinds[block.kind] += 1
            if len(self.blocks) < KEPT:
                self.blocks.append(block)
        self._last = block
        self.a.drop(rows_a)
        self.b.drop(rows_b)

    def _tail(self, rows_a: int, rows_b: int) -> None:
        """Rows after the other trace's last."""
        self.deleted += rows_a
        self.inserted += rows_b
        self._differ(rows_a, rows_b)

    def _give_up(self) -> None:
        if self.same:
            self._replace(self.a.window(1), self.b.window(1))  # the first difference at the streams' current rows
        self.unaligned = 0, 0


def differing(a: Any, b: Any) -> tuple[dict[str, bytes], bytes]:
    """Where two record batches with the same number of rows differ: for each differing column, and for all together, a
    byte per row, 1 if it differs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = {}
    together = 0
    for name, ours, theirs in zip(a.schema.names, a.columns, b.columns, strict=True):
        if not ours.equals(theirs):
            masks[name] = memoryview(pc.not_equal(ours, theirs).cast(pa.uint8()).buffers()[1])[: len(ours)].tobytes()
            together |= int.from_bytes(masks[name], "little")
    return masks, together.to_bytes(a.num_rows, "little")


def align(a: Trace, b: Trace, columns: Sequence[str], resync: int) -> dict[int, Alignment]:
    """Align two traces by ``columns``, each vCPU separately; returns alignments by the vCPU's index.

    ``resync`` is the number of searches per vCPU for the place where its streams meet again. One pass over the files
    compares the rows of all vCPUs. A vCPU whose rows are too far apart in the two files needs another pass.
    """
    splitter = Splitter(columns)
    done: dict[int, Alignment] = {}
    postponed: set[int] | None = None
    while postponed is None or postponed:
        found, postponed = _pass(a, b, splitter, postponed, resync)
        done |= found
    return dict(sorted(done.items()))


def _pass(
    a: Trace, b: Trace, splitter: Splitter, wanted: set[int] | None, resync: int
) -> tuple[dict[int, Alignment], set[int]]:
    """Read both traces once and align the wanted vCPUs (None: all); return the set of those that need another pass."""
    alignments: dict[int, Alignment] = {}
    postponed: set[int] = set()
    sources = {"a": splitter.read(a), "b": splitter.read(b)}
    waiting = {"a": 0, "b": 0}
    while sources:
        side = min(sources, key=lambda side: waiting[side])
        rows = next(sources[side], None)
        if rows is None:
            del sources[side]
        for vcpu, piece in rows or ():
            if vcpu not in postponed and (wanted is None or vcpu in wanted):
                getattr(alignments.setdefault(vcpu, Alignment(resync)), side).push(piece)
        for alignment in alignments.values():
            alignment.a.ended, alignment.b.ended = "a" not in sources, "b" not in sources
            alignment.advance()
        waiting = {
            side: sum(getattr(alignment, side).waiting for alignment in alignments.values()) for side in ("a", "b")
        }
        while sum(waiting.values()) > WAITING and len(alignments) > 1:
            longest = max(alignments, key=lambda vcpu: alignments[vcpu].a.waiting + alignments[vcpu].b.waiting)
            postponed.add(longest)
            dropped = alignments.pop(longest)
            waiting["a"] -= dropped.a.waiting
            waiting["b"] -= dropped.b.waiting
    return alignments, postponed
