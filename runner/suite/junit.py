"""The results as JUnit XML, in the common dialect (Jenkins' junit-10.xsd), with the names that pytest gives its own."""

import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

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
    """The whole: one suite, a case for each case."""
    verdicts = [report.verdict for report in tally.reports]
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count("failed") + verdicts.count("flaky")),
        "errors": str(verdicts.count("error")),
        "time": f"{tally.seconds:.3f}",
    }
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    more = {
        "skipped": str(verdicts.count("skipped")),
        "timestamp": datetime.fromtimestamp(tally.began, UTC).isoformat(timespec="seconds"),
        "hostname": _fit(socket.gethostname()),
    }
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **counts, **more})
    for report in tally.reports:
        _case(suite, report)
    return root


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
