"""Chrome's trace events: valid by a schema after the format's document, and what the trace says."""

import json

import pytest
from comparefakes import exit_row
from exportfakes import exported, some_rows
from jsonschema import Draft202012Validator

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
    assert [event["name"] for event in found if event["ph"] == "i"] == ["boot", "string I/O", "!"]


@pytest.mark.parametrize("count", [0, 1, 4095, 5000])
def test_events_are_written_in_pieces_that_join(tmp_path, count):
    rows = [exit_row(device="-", reason="hlt") for _ in range(count)]
    assert sum(event["name"].startswith("hlt") for event in events(exported(tmp_path, "chrome", rows))) == count


def test_numbers_of_64_bits_are_text(tmp_path):
    found = events(exported(tmp_path, "chrome"))
    assert any(event.get("args", {}).get("rip") == "0xffffffffffffffff" for event in found)
