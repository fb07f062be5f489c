"""``vmtrace report``: a trace as one HTML page that opens anywhere, offline."""

import argparse
from pathlib import Path

from tracer.errors import TraceError
from tracer.html.data import gather
from tracer.html.page import render
from tracer.reader import load


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, metavar="HTML", help="default: FILE with .html for its suffix")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    output = options.output or options.file.with_suffix(".html")
    trace = load(options.file)
    if output.exists() and output.samefile(options.file):
        raise TraceError(f"the report would overwrite the trace {options.file}: give another name with -o")
    html = render(trace, gather(trace)).encode(errors="replace")
    temporary = output.with_name(output.name + ".tmp")
    try:
        try:
            temporary.write_bytes(html)
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise TraceError(f"cannot write {output}: {error.strerror}") from error
    print(f"{output}: {len(html) / 1e6:.1f} MB")
    return 0
