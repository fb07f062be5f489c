"""What the metadata of a trace says, each value checked before it is believed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracer.format import closing
from tracer.format.errors import TraceError
from tracer.format.schema import FORMAT, KEY_DEVICES, KEY_FORMAT
from vmspec.schema import toml

KEY_MERGED = "vmrun.merged"  # of a merged trace: what each source was, its own metadata too


def read_metadata(path: Path, schema: Any) -> dict[str, str]:
    """The schema's metadata as text, of a format that this version reads."""
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: the metadata is damaged: {error}") from error
    version = metadata.get(KEY_FORMAT)
    if version is None:
        raise TraceError(f"{path} is an Arrow file, but not a trace of vmrun (its schema has no {KEY_FORMAT})")
    if version.startswith(("tracepoints-", "kernel-")):
        raise TraceError(f"{path} has the tracepoints of a trace: give the trace itself to vmtrace tracepoints")
    if version != FORMAT:
        raise TraceError(f"{path} has trace format {version!r}; this vmtrace reads format {FORMAT}: use a newer one")
    _strings(path, KEY_DEVICES, metadata.get(KEY_DEVICES, ""))
    return metadata


def read_devices(path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the plan's devices."""
    return tuple(_strings(path, KEY_DEVICES, metadata[KEY_DEVICES]))


def read_spec(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The resolved spec, as tomllib reads it; empty where there is none."""
    try:
        return toml.loads(metadata.get("vmrun.spec", ""))
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: the spec in the metadata is not TOML: {error}") from error


def unreadable(path: Path, metadata: Mapping[str, str]) -> list[str]:
    """Keys of the metadata of which a trace could not be used."""
    return [key for key in METADATA if key in metadata and not _readable(path, key, metadata)]


def _readable(path: Path, key: str, metadata: Mapping[str, str]) -> bool:
    try:
        METADATA[key](path, metadata)
    except TraceError:
        return False
    return True


def machine_specs(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The resolved spec of each machine, by the machine's name: "" in a trace of one run. What is damaged is not in
    it."""
    specs = {"": metadata}
    try:
        specs |= {str(one["name"]): one["metadata"] for one in read_json(metadata.get(KEY_MERGED, "[]"))}
    except (ValueError, TypeError, KeyError):
        pass  # only `vmtrace info` shows that key: the rows are whole
    found = {}
    for name, said in specs.items():
        text = said.get("vmrun.spec") if isinstance(said, dict) else None
        try:
            found[name] = toml.loads(text if isinstance(text, str) else "")
        except (ValueError, RecursionError):
            found[name] = {}
    return found


def machine_name(spec: Mapping[str, Any]) -> str:
    """``vm.name`` of a spec, "" where it has none."""
    table = spec.get("vm")
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else ""


def read_summary(path: Path, text: bytes, kinds: Mapping[str, closing.Kind] = closing.TRACE) -> dict[str, Any]:
    """The closing summary, of which what is not of its documented kind is left out."""
    return closing.said(_object(path, "the closing summary", text), kinds)


def read_json(text: str | bytes) -> Any:
    """A value in JSON. Raises ValueError, also for what is nested too deep and for text that UTF-8 cannot hold."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can spell lone surrogates
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def _strings(path: Path, key: str, text: str) -> list[str]:
    try:
        value = read_json(text)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    except ValueError:
        pass
    raise TraceError(f"{path}: {key} in the metadata is damaged")


def _object(path: Path, what: str, text: bytes) -> dict[str, Any]:
    try:
        value = read_json(text)
        if isinstance(value, dict):
            return value
    except ValueError:
        pass
    raise TraceError(f"{path}: {what} is damaged")


# What is read of the metadata beyond its text, and raises TraceError where that is damaged.
METADATA: Mapping[str, Callable[[Path, Mapping[str, str]], dict[str, Any]]] = {
    "vmrun.spec": read_spec,
    "vmrun.host": lambda path, metadata: _object(path, "vmrun.host", metadata.get("vmrun.host", "{}").encode()),
    "vmrun.clock": lambda path, metadata: _object(path, "vmrun.clock", metadata.get("vmrun.clock", "{}").encode()),
}
