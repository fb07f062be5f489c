"""The results as JUnit XML, in the common dialect (Jenkins' junit-10.xsd), with the names that pytest gives its own."""

import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from runner.expect.cases import Case as GuestCase
from runner.suite.summary import Tally, command
from runner.suite.verdict import Report, reasons
from vmspec.host.atomic import replaced
from vmspec.host.pathtext import to_text

SUITE = "vmrun"
# What XML 1.0 has no form for: controls, half characters and two of Unicode's non-characters (XML 1.0, 2.2).
UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(tally: Tally, path: Path) -> None:
    """Write the file. Raises OSError."""
    with replaced(path) as file:
        file.write(ET.tostring(document(tally), encoding="utf-8", xml_declaration=True))


def document(tally: Tally) -> ET.Element:
    """The whole: one suite, a case for each case, followed by those that its guest reported."""
    verdicts = [report.verdict for report in tally.reports]
    told = [case.outcome for report in tally.reports for case in _of_guest(report)]
    counts = {
        "tests": str(len(verdicts) + len(told)),
        "failures": str(verdicts.count("failed") + verdicts.count("flaky") + told.count("failed")),
        "errors": str(verdicts.count("error")),
        "time": f"{tally.seconds:.3f}",
    }
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    more = {
        "skipped": str(verdicts.count("skipped") + told.count("skipped") + told.count("xfail")),
        "timestamp": datetime.fromtimestamp(tally.began, UTC).isoformat(timespec="seconds"),
        "hostname": _fit(socket.gethostname()),
    }
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **counts, **more})
    for report in tally.reports:
        _case(suite, report)
        for case in _of_guest(report):
            _case_of_guest(suite, report, case)
    return root


def _of_guest(report: Report) -> Sequence[GuestCase]:
    """The test cases that the guest reported, of the first run that failed, or else of the first."""
    first = next(iter(report.failures or report.outcomes), None)
    return () if first is None or first.result is None else first.result.cases


def _case_of_guest(suite: ET.Element, report: Report, told: GuestCase) -> None:
    """A case below the one of its spec."""
    where = (*report.case.name.strip("/").split("/"), *told.suite)
    attributes = {"classname": _fit(".".join(where)), "name": _fit(told.name), "time": "0.000"}
    case = ET.SubElement(suite, "testcase", attributes)
    match told.outcome:
        case "failed":
            failure = ET.SubElement(case, "failure", {"type": "failed", "message": _fit(told.detail)})
            failure.text = _fit(told.log)
        case "skipped" | "xfail":
            ET.SubElement(case, "skipped", {"type": told.outcome, "message": _fit(told.detail)})


def _case(suite: ET.Element, report: Report) -> None:
    folder, _, name = report.case.name.rpartition("/")
    attributes = {"classname": _fit(folder.strip("/").replace("/", ".") or SUITE), "name": _fit(name)}
    case = ET.SubElement(suite, "testcase", {**attributes, "time": f"{report.seconds:.3f}"})
    match report.verdict:
        case "skipped":
            ET.SubElement(case, "skipped", {"type": SUITE, "message": _fit(report.case.skip)})
        case "error":
            _failure(case, "error", report)
        case "failed" | "flaky":
            _failure(case, "failure", report)
    first = next(iter(report.failures or report.outcomes), None)
    if first is not None and first.result is not None and first.result.console:
        ET.SubElement(case, "system-out").text = _fit(first.result.console.decode("utf-8", "replace"))
    if report.failures:
        kept = [f"its files: {to_text(report.folder)}"] if report.folder is not None else []
        ET.SubElement(case, "system-err").text = _fit("\n".join([f"again: {command(report.case)}", *kept]))


def _failure(case: ET.Element, tag: str, report: Report) -> None:
    said: Iterable[str] = (reason for outcome in report.failures for reason in reasons(outcome, report.case))
    lines = [*dict.fromkeys([*report.case.broken.splitlines(), *said]), *report.parting]
    message = lines[0] if len(report.outcomes) < 2 else report.headline
    ET.SubElement(case, tag, {"type": report.verdict, "message": _fit(message)}).text = _fit("\n".join(lines))


def _fit(text: object) -> str:
    """A text without what XML cannot have, which a guest may print."""
    return UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(text))
