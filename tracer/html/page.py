"""The report as one HTML page with template, style, script, the plotting library and the data."""

from collections.abc import Mapping, Sequence
from typing import Any

from tracer.format.errors import TraceError
from tracer.format.words import times
from tracer.html.chart import chart_data
from tracer.html.data import Findings
from tracer.html.tables import Symbols, described
from tracer.html.template import page, text
from tracer.read.metadata import read_json
from tracer.show.output import duration
from vmspec.trace import keys
from vmspec.trace.ends import CRASHES

SHORT = 10**8  # ns; times of a shorter run are shown in microseconds


def no_symbols(address: int) -> str | None:
    """The resolver where no symbols are known."""
    return None


def render(trace: Any, findings: Findings, symbols: Symbols = no_symbols) -> str:
    """The page. ``symbols`` names the addresses of the table of RIPs.

    Raises TraceError where jinja2 or plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise TraceError(f"the report needs {error.name}: pip install 'vmrun[report]'") from None
    digits = 3 if findings.end >= SHORT else 6
    return page(
        "page.html",
        scripts=(get_plotlyjs(), text("page.js")),
        filters={"duration": duration, "seconds": lambda ns: f"{ns / 1e9:.{digits}f}"},
        chart=chart_data(findings),
        head=_head(trace, findings),
        found=findings,
        tables=_tables(findings, symbols),
        spec=trace.metadata.get(keys.SPEC, "").splitlines(),
        facts=_facts(trace),
        gaps=_gaps(findings),
        depths=_depths(findings),
    )


def _head(trace: Any, findings: Findings) -> dict[str, Any]:
    """What ran and how it ended."""
    vm = _mapping(trace.spec.get("vm"))
    result = _mapping(_mapping(trace.summary).get("result"))
    ended = [
        str(result[key]) if key == "kind" else f"{key} {result[key]}"
        for key in ("kind", "status")
        if result.get(key) is not None
    ]
    facts = {
        "Started": trace.metadata.get(keys.STARTED, "not said").partition(".")[0].replace("T", " "),
        "Ended": ", ".join(ended) or "not said",
        "Length": duration(findings.end) + _paused(findings.pauses["time_ns"].to_pylist()),
        "Exits": f"{findings.rows:,}",
        "vCPUs": str(vm.get("vcpus", findings.tables["vcpu"].num_rows)),
        "Memory": str(vm.get("memory", "not said")),
    }
    images = {
        name: (
            _file_name(image.get("path")),
            str(image.get("sha256") or "not known: it was being written as the run began"),
        )
        for name, image in _mapping(_json(trace, keys.IMAGES, {})).items()
        if isinstance(image, dict)
    }
    boot = _mapping(trace.spec.get("boot"))
    overrides = _json(trace, keys.OVERRIDES, [])
    more = {
        "command line": _plain(boot.get("cmdline", "")),
        "changed by --set": " ".join(map(str, overrides)) if isinstance(overrides, list) else "",
        "host": ", ".join(_plain(trace.host[key]) for key in ("processor", "kernel", "kvm") if key in trace.host),
    }
    return {
        "name": str(vm.get("name", trace.path.name)),
        "complete": trace.complete,
        "crashed": result.get("kind") in CRASHES,
        "facts": facts,
        "images": images,
        "more": {name: value for name, value in more.items() if value},
        "file": trace.path.name,
    }


def _paused(lengths: Sequence[int]) -> str:
    if not lengths:
        return ""
    return f", paused {times(len(lengths))} for {duration(sum(lengths))}"


def _tables(findings: Findings, symbols: Symbols) -> dict[str, Any]:
    """The tables by name, as cells."""
    names = {"reasons": "reason", "devices": "device", "addresses": "address", "unclaimed": "unclaimed"}
    cells = {name: described(findings.tables[table], symbols) for name, table in names.items()}
    tracepoints = {f"tracepoints_{name}": described(table) for name, table in findings.tracepoints.items()}
    requests = {f"requests_{name}": described(table) for name, table in findings.requests.items() if name != "depth"}
    return cells | {"rips": described(findings.rips, symbols)} | tracepoints | requests


def _depths(findings: Findings) -> dict[str, dict[str, Any]]:
    """The requests in flight of each device: the mean of each part of the run in per cent of the greatest, with its
    text."""
    found: dict[str, dict[str, Any]] = {}
    for row in findings.requests["depth"].to_pylist() if findings.requests else ():
        found.setdefault(row["device"], {"parts": [], "most": 0})
        found[row["device"]]["parts"].append(row)
        found[row["device"]]["most"] = max(found[row["device"]]["most"], row["max_depth"])
    for device in found.values():
        greatest = max(row["depth"] for row in device["parts"]) or 1
        device["parts"] = [
            {**row, "percent": 100 * row["depth"] / greatest, "text": f"{row['depth']:.2f}"} for row in device["parts"]
        ]
    return found


def _facts(trace: Any) -> dict[str, list[tuple[str, str]]]:
    """All other facts about the trace: titles to names and values."""
    host = [
        (key, " ".join(f"{name}={item}" for name, item in value.items()) if isinstance(value, dict) else _plain(value))
        for key, value in trace.host.items()
    ]
    known = {keys.SPEC, keys.HOST, keys.IMAGES, keys.STARTED}
    rest = [(key, value) for key, value in trace.metadata.items() if key not in known]
    return {"Host": host, "Trace": rest}


def _gaps(findings: Findings) -> set[int]:
    """The console lines that end one of the longest waits."""
    long = {wait.length for wait in findings.waits if wait.length * 100 >= findings.end}
    return {index for index, line in enumerate(findings.console.lines) if line.gap in long}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(trace: Any, key: str, default: object) -> Any:
    try:
        return read_json(trace.metadata[key]) if key in trace.metadata else default
    except ValueError:
        return default


def _file_name(path: object) -> str:
    return str(path).rpartition("/")[2]


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
