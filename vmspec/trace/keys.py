"""The keys of a trace's metadata: the one table that the recorder, the readers and the documents share.

The metadata is that of the Arrow schema; the closing summary and the seals are custom metadata of a batch. Nothing is
imported, so that a build environment can read the definitions.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

# How a value is written: as plain text, TOML, a JSON object, a JSON list of texts or of objects.
MetadataKind = Literal["text", "toml", "object", "names", "list"]

FORMAT = "vmrun.format"
SPEC = "vmrun.spec"
OVERRIDES = "vmrun.overrides"
IMAGES = "vmrun.images"
HOST = "vmrun.host"
LOCK = "vmrun.lock"
CLOCK = "vmrun.clock"
TIME = "vmrun.time"
STARTED = "vmrun.started"
RESTORED = "vmrun.restored"
VERSION = "vmrun.version"
DEVICES = "vmrun.devices"
REGIONS = "vmrun.regions"
MERGED = "vmrun.merged"
EVENTS = "vmrun.tracepoints.events"
EVENT_FORMATS = "vmrun.tracepoints.formats"
SUMMARY = "vmrun.summary"
SEAL = "vmrun.crc32"


class Key(NamedTuple):
    """A key: the kind of its value, what it has, and the tables whose schema has it."""

    kind: MetadataKind
    doc: str
    tables: tuple[str, ...] = ("exits",)


EVERY = ("exits", "tracepoints", "inputs", "requests", "outputs", "dma")
KEYS: Mapping[str, Key] = {
    FORMAT: Key("text", "the format of the table", EVERY),
    CLOCK: Key("object", "the host's TSC at time 0 and its rate: the same in all tables of a trace", EVERY),
    DEVICES: Key("names", "the plan's devices", ("exits", "inputs", "requests", "outputs", "dma")),
    REGIONS: Key("object", "the devices' regions, by the devices' names"),
    SPEC: Key("toml", "the resolved spec"),
    OVERRIDES: Key("names", "the --set expressions, in order"),
    IMAGES: Key("object", "path and SHA-256 of each file that the run read"),
    HOST: Key("object", "facts about the host"),
    TIME: Key("object", "the guest's time, and what its runs have in common"),
    LOCK: Key("toml", "the lock of the run: what would be locked for it"),
    STARTED: Key("text", "the date and time of time 0"),
    RESTORED: Key("text", "the path of the snapshot from which the machine went on"),
    VERSION: Key("text", "the version of vmrun that recorded the trace"),
    EVENTS: Key("names", "the tracepoints that were on", ("tracepoints",)),
    EVENT_FORMATS: Key("object", "the fields of each tracepoint in the host's kernel", ("tracepoints",)),
    MERGED: Key("list", "the sources of a merged trace, each with its own metadata"),
    SUMMARY: Key(
        "object", "the closing summary: in Arrow files of the last batch, in Parquet files of the schema", EVERY
    ),
    SEAL: Key("text", "the CRC-32 of a batch", EVERY),
}


def kinds(*keys: str) -> Mapping[str, MetadataKind]:
    """The kinds of some keys' values."""
    return {key: KEYS[key].kind for key in keys}
