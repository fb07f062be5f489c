"""The table of requests: each chain of a virtqueue that a device has answered.

The C ring, the Arrow schema and the documentation share this definition, as :mod:`vmspec.trace.record` for the exits.
"""

from collections.abc import Mapping

from vmspec.trace import keys
from vmspec.trace.record import NO_DEVICE
from vmspec.trace.table import Column, Field, Names, Records, Table

# What a request is for: its name in the column `kind`, and C's REQUEST_* in capitals. New ones come last.
KINDS: Mapping[str, str] = {
    "other": "another request, or one of a device that names no kinds",
    "read": "a disk reads sectors",
    "write": "a disk writes sectors",
    "flush": "a disk or a persistent memory makes earlier writes durable",
    "get-id": "a disk returns its serial number",
    "discard": "a disk forgets sectors",
    "write-zeroes": "a disk zeroes sectors",
    "transmit": "a packet from the guest",
    "receive": "a buffer that received a packet for the guest",
    "control": "a command to the device",
    "event": "a buffer that received an event of the device",
    "entropy": "random bytes",
    "console-in": "a buffer that received bytes for the guest",
    "console-out": "bytes that the guest prints",
    "inflate": "pages that the guest gives to the balloon",
    "deflate": "pages that the guest takes back from the balloon",
    "statistics": "the guest's memory statistics",
    "free-pages": "pages that the guest reports as free",
}
# Kinds of buffers that a driver gives to a device before there is something to fill them with.
FILLED = ("receive", "event", "console-in")
# How the device has answered: its code in C, REQUEST_*; a device with other codes maps them to these.
STATUSES: Mapping[str, str] = {
    "ok": "done",
    "error": "failed, or rejected as malformed",
    "unsupported": "the device does not support the request",
}
# struct request, in memory order, no padding: the fields add up to the size of a record.
REQUEST = (
    Field("tsc_available", "uint64_t", "host's TSC when the device first knew of the chain"),
    Field("tsc_taken", "uint64_t", "host's TSC when the device took the chain from the queue"),
    Field("tsc_done", "uint64_t", "host's TSC just before the chain was put into the used ring"),
    Field("position", "uint64_t", "first sector of 512 bytes on a disk, else 0"),
    Field("length", "uint64_t", "bytes of disk data or of the packet, 0 in its further buffers; else the bytes moved"),
    Field("bytes_out", "uint32_t", "bytes in the buffers that the device reads"),
    Field("bytes_in", "uint32_t", "bytes that the device wrote into the buffers"),
    Field("room", "uint32_t", "bytes in the buffers that the device may write"),
    Field("buffers", "uint32_t", "number of buffers"),
    Field("device", "int16_t", "index of the device in the plan"),
    Field("queue", "uint16_t", "index of the queue in the device"),
    Field("head", "uint16_t", "index of the chain's first descriptor"),
    Field("kind", "uint8_t", "index into KINDS"),
    Field("status", "uint8_t", "index into STATUSES"),
)

COLUMNS = (
    Column("seq", "uint64", "number", "number of the recorded request, from 0, without gaps"),
    Column("device", "int16", "", "the device", Names((NO_DEVICE,), keys.DEVICES)),
    Column("queue", "uint16", "number", "index of the queue in the device"),
    Column("head", "uint16", "number", "index of the chain's first descriptor"),
    Column("kind", "int8", "", "the kind of request: a name of KINDS", Names(tuple(KINDS))),
    Column("position", "uint64", "number", "first sector of 512 bytes on a disk, else 0"),
    Column(
        "length",
        "uint64",
        "bytes",
        "bytes of disk data or of the packet, 0 in its further buffers; else the bytes moved",
    ),
    Column("bytes_out", "uint32", "bytes", "bytes from the guest: in the buffers that the device reads"),
    Column("bytes_in", "uint32", "bytes", "bytes to the guest: those that the device wrote into the buffers"),
    Column("room", "uint32", "bytes", "bytes in the buffers that the device may write"),
    Column("buffers", "uint32", "", "number of buffers in the chain"),
    Column("status", "int8", "", "ok, error or unsupported", Names(tuple(STATUSES))),
    Column("t_available", "int64", "ns", "when vmrun first knew of the chain, on the clock of t_exit and t_entry"),
    Column("t_taken", "int64", "ns", "when the device took the chain from the queue"),
    Column("t_done", "int64", "ns", "when the answer was complete, just before the chain was put into the used ring"),
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
