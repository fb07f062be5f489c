"""Chrome's trace events: valid by a schema after the format's document, and equal to the trace."""

import json

import pytest
from jsonschema import Draft202012Validator

from tests.fakes.comparefakes import exit_row
from tests.tracer.export.exportfakes import exported, some_rows, with_tracepoints

# "Trace Event Format" (Google, 2016): the JSON object format, and of events those that are used here.
NUMBER, ID = {"type": "number"}, {"type": "integer", "minimum": 0}
PLACE = {"pid": ID, "tid": ID, "name": {"type": "string", "minLength": 1}}
SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    {
                        "required": ["name", "ph", "ts", "dur", "pid", "tid"],
                        "properties": PLACE
                        | {
                            "ph": {"const": "X"},
                            "ts": NUMBER,
                            "dur": {"type": "number", "minimum": 0},
                            "cat": {"type": "string"},
                            "args": {"type": "object"},
                        },
                        "additionalProperties": False,
                    },
                    {
                        "required": ["name", "ph", "ts", "pid", "tid", "s"],
                        "properties": PLACE
                        | {
                            "ph": {"const": "i"},
                            "s": {"enum": ["g", "p", "t"]},
                            "ts": NUMBER,
                            "cat": {"type": "string"},
                            "args": {"type": "object"},
                        },
                        "additionalProperties": False,
                    },
                    {
                        "required": ["name", "ph", "pid", "args"],
                        "properties": PLACE
                        | {
                            "ph": {"const": "M"},
                            "name": {"enum": ["process_name", "thread_name"]},
                            "args": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"type": "string"}},
                            },
                        },
                        "additionalProperties": False,
                    },
                ]
            },
        },
    },
}


def events(path):
    """The events of a valid file."""
    document = json.loads(path.read_text())
    Draft202012Validator(SCHEMA).validate(document)
    return document["traceEvents"]


def threads(found):
    """Names of threads by process and thread."""
    return {(event["pid"], event["tid"]): event["args"]["name"] for event in found if event["name"] == "thread_name"}


def test_every_exit_is_a_slice(tmp_path):
    found = events(exported(tmp_path, "chrome"))
    names = threads(found)
    for vcpu in (0, 1):
        handled = [
            (event["ts"], event["dur"], event["args"]["addr"])
            for event in found
            if event["ph"] == "X" and event["name"] != "KVM_RUN" and names[event["pid"], event["tid"]] == f"vCPU {vcpu}"
        ]
        assert handled == [
            (float(n), 0.4, f"{row['addr']:#x}") for n, row in enumerate(some_rows()) if row["vcpu"] == vcpu
        ]


def test_devices_guest_time_and_console(tmp_path):
    found = events(exported(tmp_path, "chrome"))
    names = threads(found)
    assert set(names.values()) == {"vCPU 0", "vCPU 1", "serial0, vCPU 0", "rtc0, vCPU 1", "console (serial0)"}
    guest = [(event["ts"], event["dur"]) for event in found if event["name"] == "KVM_RUN"]
    assert guest[:2] == [(0.4, 0.6), (1.4, 0.6)]
    first = next(event for event in found if event["name"] == "KVM_RUN" and event["tid"] == 1)
    assert (first["ts"], first["dur"]) == (0.0, 5.0)
    for vcpu in (0, 1):
        own = [event for event in found if event["ph"] == "X" and (event["pid"], event["tid"]) == (1, vcpu)]
        assert max(event["ts"] + event["dur"] for event in own) == float(len(some_rows()))
    assert [event["name"] for event in found if event["ph"] == "i"] == ["boot", "string I/O", "!"]


@pytest.mark.long
@pytest.mark.parametrize("count", [0, 1, 4095, 5000])
def test_events_are_written_in_pieces_that_join(tmp_path, count):
    """All are alike, so the schema has nothing to say of them that it does not say of the first."""
    rows = [exit_row(device="-", reason="hlt") for _ in range(count)]
    found = json.loads(exported(tmp_path, "chrome", rows).read_text())["traceEvents"]
    assert sum(event["name"].startswith("hlt") for event in found) == count


def test_numbers_of_64_bits_are_text(tmp_path):
    found = events(exported(tmp_path, "chrome"))
    assert any(event.get("args", {}).get("rip") == "0xffffffffffffffff" for event in found)


def test_tracepoints(tmp_path):
    found = [event for event in events(with_tracepoints(tmp_path, "chrome")) if event["pid"] == 3]
    assert threads(found) == {(3, 0): "vCPU 0, KVM"}
    spans = [(event["name"], event["ts"], event["dur"]) for event in found if event["ph"] == "X"]
    assert spans[:3] == [("waiting", 0.02, 0.03), ("guest", 0.05, 0.05), ("npf", 0.1, 0.03)]
    assert spans[-1] == ("msr", 1.0, 0.5)
    assert [(event["name"], event["ts"], event["args"]) for event in found if event["ph"] == "i"] == [
        ("kvm_page_fault 0x0 to 0x1fffff", 0.12, {"a": "0x1000"})
    ]


def test_a_hang_goes_to_the_run_s_end(tmp_path):
    rows = [exit_row(t_exit=1000, t_entry=1400)]
    found = events(exported(tmp_path, "chrome", rows, closing={"duration_ns": 3_000_000, "start_ns": [500]}))
    assert [(event["ts"], event["dur"]) for event in found if event["name"] == "KVM_RUN"] == [(0.5, 0.5), (1.4, 2998.6)]


def test_a_vcpu_without_exits_and_one_whose_exit_was_not_answered(tmp_path):
    closing = {"duration_ns": 3000, "start_ns": [500, 600], "stop_ns": [3000, None], "open_ns": [None, 1000]}
    found = events(exported(tmp_path, "chrome", [], closing=closing))
    assert [(event["tid"], event["name"], event["ts"], event["dur"]) for event in found if event["ph"] == "X"] == [
        (0, "KVM_RUN", 0.5, 2.5), (1, "KVM_RUN", 0.6, 0.4), (1, "an exit that was not answered", 1.0, 2.0),
    ]  # fmt: skip
