"""The test cases in documents of TAP or KTAP, and what is wrong with them."""

from collections.abc import Iterator

from runner.expect.cases import Case
from runner.expect.tap import MOST, Document, Node, Tap
from runner.expect.unmet import Unmet, many

LOOK = "vmtrace console"
SHOWN = 20  # failures that are named, at most


class Report:
    """``cases`` are the results of documents that have ended: the innermost ones, and any other that failed though
    those within it did not. ``faults`` are what was expected and what came, in words."""

    def __init__(self, tap: Tap) -> None:
        self.cases: list[Case] = []
        self.faults: list[tuple[str, str]] = []
        self._kernel = tap.kernel
        if not tap.documents:
            what = "KTAP" if tap.kernel else "TAP"
            self.faults.append((f"test cases in {what} on the console", "no line of it came"))
        for document in tap.documents:
            self._document(document, ())
        if tap.left_out:
            self.faults.append((f"up to {MOST:,} results", f"{tap.left_out:,} more came"))

    def _document(self, document: Document, suite: tuple[str, ...]) -> None:
        where = f" of {'/'.join(suite)!r}" if suite else ""
        if document.bailed is not None:
            self._fault("all test cases" + where, f"the guest bailed out: {document.bailed!r}")
        elif document.plan is None:
            # KUnit prints no plan for the parameters of a test. What is missing there has its number missing, or its
            # test its result.
            if not suite or not self._kernel:
                self._fault(f"a plan (1..N) of the test cases{where}", "none came")
        elif document.plan != document.count:
            last = f", the last is {document.nodes[-1].name!r}" if document.nodes else ""
            self._fault(many(document.plan, "result") + where, f"{document.count:,} came{last}")
        elif document.plan == 0 and not suite:
            if document.skip is None:
                self._fault("at least one test case", "the plan is 1..0")
            else:
                self.cases.append(Case((), "all", "skipped", document.skip))
        if document.plans > 1:
            self._fault(f"one plan{where}", f"{document.plans:,} came")
        if document.misnumbered is not None:
            number, came = document.misnumbered
            self._fault(f"result {number}{where}", f"it has the number {came}")
        for node in document.nodes:
            self._node(node, suite)
        for child in document.pending:
            inner = (*suite, child.name or str(document.count + 1))
            self._document(child, inner)
            self._fault(f"a result of {'/'.join(inner)!r}", "none came after its test cases")

    def _node(self, node: Node, suite: tuple[str, ...]) -> None:
        faults, cases = len(self.faults), len(self.cases)
        for child in node.children:
            self._document(child, (*suite, node.name))
        if node.outcome in ("skipped", "xfail"):  # nothing in it counts
            del self.faults[faults:]
            self.cases[cases:] = [_excused(case) for case in self.cases[cases:]]
        if len(self.cases) > cases and (node.outcome != "failed" or len(self.faults) > faults):
            return
        case = Case(suite, node.name, node.outcome, node.detail, node.log)
        self.cases.append(case)
        if case.outcome == "failed":
            why = case.detail or case.log.rpartition("\n")[2]
            self._fault(f"test case {case.path!r} to pass", f"it failed: {why!r}" if why else "it failed")

    def _fault(self, expected: str, came: str) -> None:
        self.faults.append((expected, came))

    def unmet(self) -> Iterator[Unmet]:
        """The faults, the first ones by name."""
        key = "expect.ktap" if self._kernel else "expect.tap"
        for expected, came in self.faults[:SHOWN]:
            yield Unmet(key, expected, came, LOOK)
        if (more := len(self.faults) - SHOWN) > 0:
            yield Unmet(key, "no other failure", f"there are {more:,} more", LOOK)


def _excused(case: Case) -> Case:
    """A case in a test that is skipped, or expected to fail."""
    return case._replace(outcome="xfail") if case.outcome == "failed" else case
