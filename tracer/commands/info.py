"""``vmtrace info``: what ran, where, and whether the trace is complete."""

import argparse
import json
from pathlib import Path
from typing import Any

from tracer.analysis.facts import facts
from tracer.analysis.frames import told
from tracer.format.errors import TraceError
from tracer.format.jsonvalues import exact
from tracer.format.words import times
from tracer.read.reader import load
from tracer.show.output import duration, pairs
from vmspec.host.printable import printable
from vmspec.trace import keys


def prepare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", type=Path, help="the trace: an .arrow or .arrows file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="everything, as JSON; times in ns")
    what.add_argument("--lock", action="store_true", help="only the lock of the run, as vmspec lock writes it")


def run(options: argparse.Namespace) -> int:
    """Print the facts, and the spec in the trace."""
    trace = load(options.file)
    if options.lock:
        if (lock := trace.metadata.get(keys.LOCK)) is None:
            raise TraceError(f"{options.file} has no lock: an earlier release wrote it, or the run was killed early")
        print("\n".join(map(printable, lock.rstrip("\n").split("\n"))))
        return 0
    found = facts(trace)
    if options.json:
        print(json.dumps(exact(found | {"clock": _exact_clock(found["clock"])}), indent=2))
        return 0
    print(pairs(_shown(found)))
    if spec := trace.metadata.get(keys.SPEC, ""):
        print("\nspec")
        print("\n".join(f"  {printable(line)}" for line in spec.splitlines()))
    return 0


def _exact_clock(clock: dict[str, Any]) -> dict[str, Any]:
    """The clock for JSON: a host's TSC may exceed the digits of a double."""
    start = clock.get("tsc_start")
    return clock | {"tsc_start": hex(start)} if isinstance(start, int) else clock


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """The facts, one line each."""
    file, complete, run_ = found["trace"], found["complete"], found["run"]
    each = f", {file['bytes_per_exit']} bytes an exit ({64} in the ring)" if file["rows"] else ""
    shown: dict[str, Any] = {
        "rows": f"{file['rows']:,}",
        "complete": f"{'yes' if complete['complete'] else 'no'}: {complete['why']}",
        "size": f"{file['bytes']:,} bytes{each}; {file['kind']}, format {file['format']}",
    }
    if file["rows"]:
        shown["time"] = f"{duration(file['first_ns'])} to {duration(file['last_ns'])}"
    if isinstance(run_["duration_ns"], int):
        shown["time"] = f"{shown.get('time', 'no exits')}, of {duration(run_['duration_ns'])}"
    if pauses := run_["pauses"]:
        shown["paused"] = f"{times(len(pauses))}, {duration(sum(pause['time_ns'] for pause in pauses))} in all"
    shown |= {name: run_[name] for name in ("started", "version") if run_[name]}
    shown["machine"] = run_["name"] or "-"
    if isinstance(run_["result"], dict):
        shown["end"] = " ".join(str(value) for value in run_["result"].values() if value is not None)
    shown["vCPUs"] = ", ".join(f"{vcpu}: {count:,} rows" for vcpu, count in run_["vcpus"].items()) or "-"
    shown["devices"] = ", ".join(run_["devices"]) or "-"
    shown |= {f"frames {device}": told(counts) for device, counts in run_["frames"].items()}
    shown |= {name: _table(table) for name, table in found["tables"].items()}
    if isinstance(images := run_["images"], dict):
        for name, image in images.items():
            shown[name] = _image(image) if isinstance(image, dict) else image
    shown |= {name: json.dumps(value) for name, value in (("overrides", run_["overrides"]),) if value}
    clock = found["clock"]
    if {"tsc_start", "tsc_khz"} <= clock.keys():
        shown["clock"] = f"host TSC {clock['tsc_khz']} kHz, time 0 is host TSC {clock['tsc_start']}"
    for name, value in found["host"].items():
        shown[f"host {name}"] = _fact(value)
    for name, value in found["other"].items():
        if name == keys.MERGED and isinstance(value, list):
            shown |= {f"merged {number}": _merged(one) for number, one in enumerate(value)}
        else:
            shown[name] = _fact(value)
    return shown


def _table(table: dict[str, Any]) -> str:
    """A table beside the exits."""
    if "problem" in table:
        return str(table["problem"])
    return f"{table['rows']:,} rows, {'complete' if table['complete'] else 'not complete'}"


def _image(image: dict[str, Any]) -> str:
    """Path and hash of a file that the run read."""
    digest = image.get("sha256") or "no hash: it was being written as the run began"
    return f"{image.get('path', '')} {digest}".strip()


def _merged(one: Any) -> str:
    """One of the traces in a merged one."""
    if not isinstance(one, dict):
        return _fact(one)
    return " ".join(f"{key}={one[key]}" for key in ("name", "file", "first_vcpu", "vcpus", "shift_ns") if key in one)


def _fact(value: Any) -> str:
    match value:
        case dict():
            return " ".join(f"{name}={item}" for name, item in value.items())
        case list() if all(isinstance(item, str) for item in value):
            return ", ".join(value)
        case str():
            return value
    return json.dumps(value)
