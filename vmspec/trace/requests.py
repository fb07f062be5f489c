"""The table of requests: each chain of a virtqueue that a device has answered.

The C ring, the Arrow schema and the documentation share this definition, as :mod:`vmspec.trace.record` for the exits.
"""

from collections.abc import Mapping

from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE
from vmspec.trace.table import Column, Field, Names, Records, Table

# What a request is for: its name in the column `kind`, and C's REQUEST_* in capitals. New ones come last.
KINDS: Mapping[str, str] = {
    "other": "none of the others, or of a device that does not tell",
    "read": "a disk reads sectors",
    "write": "a disk writes sectors",
    "flush": "a disk or a persistent memory makes durable what was written",
    "get-id": "a disk tells its serial number",
    "discard": "a disk forgets sectors",
    "write-zeroes": "a disk zeroes sectors",
    "transmit": "a packet of the guest's",
    "receive": "a buffer that a packet for the guest has filled",
    "control": "a command to the device",
    "event": "a buffer that an event of the device has filled",
    "entropy": "random bytes",
    "console-in": "a buffer that bytes for the guest have filled",
    "console-out": "bytes that the guest prints",
    "inflate": "pages that the guest gives up",
    "deflate": "pages that the guest takes back",
    "statistics": "the guest's statistics of its memory",
    "free-pages": "pages that the guest does not use for now",
}
# Kinds of buffers that a driver gives to a device before there is something to fill them with.
FILLED = ("receive", "event", "console-in")
# How the device has answered: its code in C, REQUEST_*; a device with other codes maps them to these.
STATUSES: Mapping[str, str] = {
    "ok": "done",
    "error": "failed, or refused as malformed",
    "unsupported": "not known to the device",
}
# struct request, in memory order, no padding: the fields add up to the size of a record.
REQUEST = (
    Field("tsc_available", "uint64_t", "host's TSC when the device first knew of the chain"),
    Field("tsc_taken", "uint64_t", "host's TSC when the device took it from the queue"),
    Field("tsc_done", "uint64_t", "host's TSC just before it was given back"),
    Field("position", "uint64_t", "first sector of 512 bytes on a disk, else 0"),
    Field("length", "uint64_t", "bytes that the request is about, as the device counts them"),
    Field("bytes_out", "uint32_t", "bytes in the buffers that the device reads"),
    Field("bytes_in", "uint32_t", "bytes that the device has written to the buffers"),
    Field("room", "uint32_t", "bytes in the buffers that the device may write"),
    Field("buffers", "uint32_t", "number of buffers"),
    Field("device", "int16_t", "index of the device in the plan"),
    Field("queue", "uint16_t", "index of the queue in the device"),
    Field("head", "uint16_t", "index of the chain's first descriptor"),
    Field("kind", "uint8_t", "index into KINDS"),
    Field("status", "uint8_t", "index into STATUSES"),
)

COLUMNS = (
    Column("seq", "uint64", "number", "number of the request, from 0, without gaps, in the order of the record"),
    Column("device", "int16", "", "the device", Names((NO_DEVICE,), keys.DEVICES)),
    Column("queue", "uint16", "number", "index of the queue in the device"),
    Column("head", "uint16", "number", "index of the chain's first descriptor"),
    Column("kind", "int8", "", "what it was for: a name of KINDS", Names(tuple(KINDS))),
    Column("position", "uint64", "number", "first sector of 512 bytes on a disk, else 0"),
    Column("length", "uint64", "bytes", "bytes that it is about: of a disk's data, of a packet; else bytes moved"),
    Column("bytes_out", "uint32", "bytes", "bytes out of the guest: in the buffers that the device reads"),
    Column("bytes_in", "uint32", "bytes", "bytes into the guest: that the device has written to the buffers"),
    Column("room", "uint32", "bytes", "bytes in the buffers that the device may write"),
    Column("buffers", "uint32", "", "number of its buffers"),
    Column("status", "int8", "", "ok, error or unsupported", Names(tuple(STATUSES))),
    Column("t_available", "int64", "ns", "when vmrun first knew of it, on the clock of t_exit and t_entry"),
    Column("t_taken", "int64", "ns", "when the device took it from the queue"),
    Column("t_done", "int64", "ns", "when the device had answered it, just before it gave it back"),
)
REQUESTS = Table(
    "requests",
    what="requests",
    format="requests-1",
    time="t_done",
    columns=COLUMNS,
    metadata=keys.kinds(keys.CLOCK, keys.DEVICES),
    summary={"complete": "flag", "rows": "count", "dropped": "count"},
    switch="trace.requests",
    where="in a machine with a virtio device",
    records=Records(
        "request",
        REQUEST,
        number="seq",
        times={"t_available": "tsc_available", "t_taken": "tsc_taken", "t_done": "tsc_done"},
    ),
)
