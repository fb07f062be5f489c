"""The metadata of a trace, each value checked before use."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tracer.format import closing
from tracer.format.errors import TraceError
from vmspec.schema import toml
from vmspec.trace import keys
from vmspec.trace.keys import MetadataKind
from vmspec.trace.record import EXITS
from vmspec.trace.table import SummaryKind, Table
from vmspec.trace.tables import TABLES


def read_definition(schema: Any) -> Table:
    """The table whose format a schema says it has; the exits where it says none that is known."""
    version = (schema.metadata or {}).get(keys.FORMAT.encode(), b"").decode(errors="replace")
    return next((table for table in TABLES.values() if version in _formats(table)), EXITS)


def _formats(table: Table) -> tuple[str, ...]:
    """The formats of a table that are read."""
    return (table.format,) if table.former is None else (table.format, table.former.format)


def read_metadata(path: Path, schema: Any, table: Table) -> dict[str, str]:
    """The schema's metadata as text, of a format of the table that this version reads; names are lists of texts."""
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: the metadata is damaged: {error}") from error
    former = table.former
    if former is not None and metadata.get(keys.FORMAT) == former.format:
        metadata = {former.keys.get(key, key): text for key, text in metadata.items()} | {keys.FORMAT: table.format}
    version = metadata.get(keys.FORMAT)
    if version is None:
        raise TraceError(f"{path} is an Arrow file, but not a trace of vmrun (its schema has no {keys.FORMAT})")
    if version != table.format:
        for other in TABLES.values():
            if version in _formats(other):
                hint = ": give the trace beside it" if table is EXITS else ""
                raise TraceError(f"{path} has {other.what}, not {table.what}{hint}")
        raise TraceError(
            f"{path} has trace format {version!r}; this vmtrace reads format {table.format}: use a newer one"
        )
    for key in table.keys:
        _strings(path, key, metadata.get(key, ""))
    return metadata


def read_devices(path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the plan's devices."""
    return tuple(_strings(path, keys.DEVICES, metadata[keys.DEVICES]))


def read_value(path: Path, metadata: Mapping[str, str], key: str, kind: MetadataKind) -> Any:
    """The value of a key of the metadata; {} if an object's key is missing. Raises TraceError if it is damaged."""
    match kind:
        case "text" | "list":
            return metadata.get(key, "")
        case "toml":
            return _toml(path, key, metadata.get(key, ""))
        case "object":
            return _object(path, key, metadata.get(key, "{}").encode())
        case "names":
            return _strings(path, key, metadata.get(key, "[]"))


def check_values(path: Path, metadata: Mapping[str, str], table: Table) -> None:
    """Raise TraceError if a value of the metadata is damaged."""
    for key, kind in table.metadata.items():
        read_value(path, metadata, key, kind)


def unreadable(path: Path, metadata: Mapping[str, str], table: Table) -> list[str]:
    """Keys of the metadata that a table cannot use."""
    return [key for key, kind in table.metadata.items() if key in metadata and not _readable(path, metadata, key, kind)]


def _readable(path: Path, metadata: Mapping[str, str], key: str, kind: MetadataKind) -> bool:
    try:
        read_value(path, metadata, key, kind)
    except TraceError:
        return False
    return True


def machine_specs(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The resolved spec of each machine, by the machine's name: "" in a trace of one run. A damaged spec is left
    out."""
    specs = {"": metadata}
    try:
        specs |= {str(one["name"]): one["metadata"] for one in read_json(metadata.get(keys.MERGED, "[]"))}
    except (ValueError, TypeError, KeyError):
        pass  # only `vmtrace info` shows that key: the rows are whole
    found = {}
    for name, said in specs.items():
        text = said.get(keys.SPEC) if isinstance(said, dict) else None
        try:
            found[name] = toml.loads(text if isinstance(text, str) else "")
        except (ValueError, RecursionError):
            found[name] = {}
    return found


def machine_name(spec: Mapping[str, Any]) -> str:
    """``vm.name`` of a spec, "" if it has none."""
    table = spec.get("vm")
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else ""


def silent(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The devices of a trace whose drivers' notifications have no rows, because KVM answers them."""
    return _named(metadata, lambda table: table.get("notify") == "ioeventfd")


def unseen(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The devices of a trace whose requests have no rows, because another process serves them."""
    return _named(
        metadata,
        lambda table: (
            table["kind"] in ("virtio-fs", "vhost-user")
            or (table["kind"] == "virtio-blk" and table.get("format", "raw") != "raw")
        ),
    )


def _named(metadata: Mapping[str, str], wanted: Callable[[Mapping[str, Any]], bool]) -> tuple[str, ...]:
    """The devices whose tables in the spec are wanted."""
    found = []
    for machine, spec in machine_specs(metadata).items():
        devices, seen = spec.get("device"), Counter[str]()
        for table in devices if isinstance(devices, list) else ():
            kind = table.get("kind") if isinstance(table, dict) else None
            if isinstance(kind, str):
                name = f"{kind}{seen[kind]}"
                if wanted(table):
                    found.append(f"{machine}/{name}" if machine else name)
                seen[kind] += 1
    return tuple(found)


def read_summary(path: Path, text: bytes, kinds: Mapping[str, SummaryKind]) -> dict[str, Any]:
    """The closing summary, without values that are not of their documented kind."""
    return closing.said(_object(path, "the closing summary", text), kinds)


def read_json(text: str | bytes) -> Any:
    """A value in JSON. Raises ValueError, also for one nested too deep and for text that UTF-8 cannot hold."""
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


def _toml(path: Path, key: str, text: str) -> dict[str, Any]:
    try:
        return toml.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: {key} in the metadata is not TOML: {error}") from error
