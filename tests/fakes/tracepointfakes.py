"""Handmade tracepoints of a run, and their table."""

import struct

from tests.fakes.tracefakes import METADATA, exit_
from tracer.format.schema import STORED
from tracer.record.tracepointrecorder import TracepointRecorder
from vmspec.trace.events import EVENTS
from vmspec.trace.tracepoints import COLUMNS, EXIT_NAMES

NAMES = list(EVENTS)


def event(t, name, vcpu=0, **fields):
    values = {"vcpu": vcpu, "t": t, "event": NAMES.index(f"kvm_{name}"), **fields}
    return values | {"exit": EXIT_NAMES.index(fields.get("exit", "-"))}


def vmexit(t, exit="npf", vcpu=0, **fields):
    return event(t, "exit", vcpu, exit=exit, **fields)


class Source:
    """Gives lists of events, one with each drain."""

    def __init__(self, *drains):
        self.drains = list(drains)

    def wait(self, seconds):
        pass

    def wake(self):
        pass

    def tick(self):
        pass

    def drain(self, buffers):
        events = self.drains.pop(0) if self.drains else []
        for row, values in enumerate(events):
            for column in COLUMNS:
                code = STORED[column.type][0]
                at = row * struct.calcsize(code)
                struct.pack_into("<" + code, buffers.columns[column.name], at, values.get(column.name, 0))
        return len(events)


def record(path, *drains, lost=(0,), **summary):
    recorder = TracepointRecorder(path, Source(*drains), lambda: {"vmrun.clock": METADATA["vmrun.clock"]}, NAMES)
    recorder.start()
    while recorder._source.drains:
        pass
    return recorder.finish({"lost": list(lost), "unknown": 0, "isa": 2, **summary})


# One exit that the kernel handled; one that came to userspace; a halt that a signal interrupted.
STORY = [
    event(50, "entry"),
    vmexit(100), event(120, "page_fault", a=0x1000), event(130, "entry"),
    vmexit(200, "ioio"), event(210, "userspace_exit", reason=2, exit="io"), event(600, "entry"),
    vmexit(700, "hlt"), event(800, "userspace_exit", reason=5, exit="hlt", a=4), event(900, "entry"),
    vmexit(1000, "msr"),
]  # fmt: skip
ROWS = [exit_(220, 520)]
RAN = {"duration_ns": 1600, "start_ns": [20], "stop_ns": [1500], "open_ns": [None]}
