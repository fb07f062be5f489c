"""The failures of a suite as one HTML page, beside the files that it links. Everything that a guest or a spec chose is
escaped, and the page loads nothing."""

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from runner.suite.summary import Tally, command
from runner.suite.verdict import Report, reasons
from vmspec.host.atomic import replaced
from vmspec.host.printable import printable

PAGE = "report.html"

DOCUMENT = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>vmrun test: $counts</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
:root { color-scheme: light dark }
pre { background: color-mix(in srgb, CanvasText 6%, Canvas); padding: .7em; overflow-x: auto }
h2 { border-top: 1px solid color-mix(in srgb, CanvasText 25%, Canvas); padding-top: .8em }
h2 span { font-weight: normal }
</style>
</head>
<body>
<h1>vmrun test: $counts</h1>
$cases
</body>
</html>
""")


def write(tally: Tally, folder: Path) -> Path:
    """Write the page; returns its path. Raises OSError."""
    cases = "\n".join("\n".join(_case(report, folder)) for report in tally.bad)
    text = DOCUMENT.substitute(counts=escape(tally.counts), cases=cases)
    with replaced(folder / PAGE) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return folder / PAGE


def _case(report: Report, folder: Path) -> Iterator[str]:
    yield f"<h2>{_text(report.case.name)} <span>{_text(report.headline)}</span></h2>"
    said = [reason for outcome in report.failures for reason in reasons(outcome, report.case)]
    yield "<ul>"
    for line in dict.fromkeys([*report.case.broken.splitlines(), *said]):
        yield f"<li>{_text(line)}</li>"
    yield "</ul>"
    if report.parting:
        yield _block("Where runs diverge", "\n".join(report.parting))
    first = next((outcome.result for outcome in report.failures if outcome.result is not None), None)
    if first is not None:
        for failure in first.unmet:
            if failure.look:
                yield f"<p>To see it: <code>{_text(failure.look)}</code></p>"
        if first.report:
            yield _block("Crash report", first.report)
        if first.console:
            yield _block("The end of the console", first.console.decode("utf-8", "replace"))
    yield f"<p>Again: <code>{_text(command(report.case))}</code></p>"
    if report.folder is not None:
        yield "<ul>"
        for path in sorted(report.folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder)
                yield f'<li><a href="{quote(os.fsencode(name))}">{_text(name)}</a></li>'
        yield "</ul>"


def _block(title: str, text: str) -> str:
    lines = "\n".join(printable(line.expandtabs()) for line in text.splitlines())
    return f"<h3>{title}</h3>\n<pre>{escape(lines)}</pre>"


def _text(value: object) -> str:
    return escape(printable(value))
