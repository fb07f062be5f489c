"""TAP and KTAP as they come, line by line: documents of results, which may be nested."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from runner.expect.cases import Outcome
from runner.expect.tapline import Bail, Comment, Level, Plan, Result, Subtest, Version, parsed
from runner.expect.unmet import SHOWN

DEEPEST = 32  # levels; what is deeper has no meaning
MOST = 100_000  # results, and documents, that are kept
LOG = 20  # comments before a result that are kept with it
BARE = 4  # spaces before the lines of a TAP 14 subtest that nothing announces


class Node(NamedTuple):
    """A result, with the documents that came before it on the next level, and the comments before it."""

    name: str
    outcome: Outcome
    detail: str
    children: "Sequence[Document]"
    log: str


class Document:
    """The results of one level, after one version line. ``plan`` is their number as the guest gives it, ``count`` the
    number that came. ``pending`` are documents of the next level whose own result has not come."""

    def __init__(self, level: Level, name: str, parent: "Document | None") -> None:
        self.level, self.name, self.parent = level, name, parent
        self.plan: int | None = None
        self.skip: str | None = None
        self.bailed: str | None = None
        self.plans = self.count = 0
        self.misnumbered: tuple[int, int] | None = None  # the first number that was not the next, and that one
        self.nodes: list[Node] = []
        self.pending: list[Document] = []
        self.announced: str | None = None  # the name of a document of the next level that may begin


class Tap:
    """The documents of a stream of lines. ``kernel``: it is KTAP, where lines may have printk's prefix, a document
    begins with its version, and each result has a number. ``left_out`` counts the results that are not kept."""

    def __init__(self, kernel: bool) -> None:
        self.kernel = kernel
        self.documents: list[Document] = []
        self.left_out = 0
        self._kept = self._opened = 0
        self._stack: list[Document] = []
        self._log: deque[str] = deque(maxlen=LOG)

    def line(self, line: str) -> None:
        """The next line. One that is no part of TAP means nothing."""
        found = parsed(line, self.kernel)
        if found is None:
            return
        level, token = found
        match token:
            case Version():
                self._close(level.lead)
                self._open(level, "")
            case Subtest(name=name):
                self._announce(level, name[:SHOWN])
            case Comment(text=text):
                self._log.append(text[:SHOWN])
            case Plan(tests=tests, skip=skip):
                if (document := self._at(level)) is not None:
                    document.plan, document.skip = tests, skip and skip[:SHOWN]
                    document.plans += 1
            case Bail(reason=reason):
                if (document := self._at(level) or self._outermost(level)) is not None:
                    document.bailed = reason[:SHOWN]
            case Result():
                if (document := self._at(level)) is not None:
                    self._add(document, token)
                elif level.hashes:
                    self._log.append(line.strip()[:SHOWN])

    def _add(self, document: Document, result: Result) -> None:
        document.count += 1
        if result.number not in (None, document.count) and document.misnumbered is None:
            document.misnumbered = document.count, result.number or 0
        name = result.name or next((one.name for one in document.pending if one.name), "") or str(document.count)
        if self._kept < MOST:
            self._kept += 1
            children, log = document.pending, "\n".join(self._log)
            document.nodes.append(Node(name[:SHOWN], result.outcome, result.detail[:SHOWN], children, log))
            document.pending = []
        else:
            self.left_out += 1
            document.pending.clear()
        document.announced = None
        self._log.clear()

    def _at(self, level: Level) -> Document | None:
        """The document whose lines begin there; deeper ones have ended."""
        if any(document.level == level for document in self._stack):
            self._close(level.lead + 1)
            return self._stack[-1]
        if not self._stack:
            return self._open(level, "") if not self.kernel and level == (0, 0) else None
        top = self._stack[-1]
        deeper = level.hashes == top.level.hashes and level.lead > top.level.lead
        bare = not self.kernel and level.lead == top.level.lead + BARE
        if deeper and (bare or top.announced is not None):
            name, top.announced = top.announced or "", None
            return self._open(level, name)
        return None

    def _announce(self, level: Level, name: str) -> None:
        document = next((one for one in self._stack if one.level == level), None)
        if document is not None:
            self._close(level.lead + 1)
            if document.parent is not None and not document.name and not document.count:
                document.name = name  # KTAP: after the version
            else:
                document.announced = name  # TAP 14: before the subtest
        elif self._stack and level.hashes == self._stack[-1].level.hashes and level.lead > self._stack[-1].level.lead:
            outer, self._stack[-1].announced = self._stack[-1].announced, None
            self._open(level, outer or name)

    def _outermost(self, level: Level) -> Document | None:
        """The document that a "Bail out!" on no level ends; after a # it may be a mere comment."""
        return self._stack[0] if self._stack and not level.hashes else None

    def _open(self, level: Level, name: str) -> Document | None:
        if len(self._stack) == DEEPEST or self._opened == MOST:
            return None
        self._opened += 1
        document = Document(level, name, self._stack[-1] if self._stack else None)
        if not self._stack:
            self.documents.append(document)
        self._stack.append(document)
        return document

    def _close(self, lead: int) -> None:
        """End the documents whose lines begin there or further to the right."""
        while self._stack and self._stack[-1].level.lead >= lead:
            document = self._stack.pop()
            if document.parent is not None:
                document.parent.pending.append(document)

    def end(self) -> None:
        """The stream has ended, and with it all documents."""
        self._close(0)
