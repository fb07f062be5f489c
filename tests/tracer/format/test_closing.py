"""Closing summaries: values of the wrong kind are dropped, the others stay."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.format.closing import KINDS, said
from vmspec.trace.record import EXITS
from vmspec.trace.table import SummaryKind
from vmspec.trace.tracepoints import TRACEPOINTS as TRACEPOINTS_TABLE

TRACE, TRACEPOINTS = EXITS.summary, TRACEPOINTS_TABLE.summary

GOOD = {
    "complete": True,
    "result": {"kind": "reset", "status": None},
    "rows": [1, 2],
    "dropped": [0],
    "interrupted": [],
    "start_ns": [5],
    "stop_ns": [None],
    "open_ns": [None, -7],
    "duration_ns": 9,
    "stats": {"start": [{"exits": 1}], "end": [{}]},
    "clocks": {"trace_ns": 1, "monotonic_ns": 1},
    "frames": {"virtio-net0": {"received": 3}, "virtio-net1": {}},
    "another": [{"of": ["a newer version"]}],
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(GOOD)) | st.text(), inner),
    max_leaves=12,
)


def test_every_kind_has_its_check():
    assert set(KINDS) == set(get_args(SummaryKind))


def test_what_is_right_stays():
    assert said(GOOD, TRACE) == GOOD


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("complete", 1), ("result", "reset"), ("result", {"kind": ["reset"]}), ("result", {"status": 1e400}),
        ("rows", 3), ("rows", [-1]), ("rows", [True]), ("rows", ["1"]), ("rows", [1 << 63]), ("rows", {"0": 1}),
        ("start_ns", [1 << 62]), ("start_ns", [0.5]), ("duration_ns", None), ("duration_ns", 1 << 62),
        ("stats", []), ("stats", {"start": {}}), ("stats", {"start": [[]]}), ("stats", {"end": [{"exits": "1"}]}),
        ("clocks", {"trace_ns": None}), ("frames", {"virtio-net0": 3}), ("frames", {"virtio-net0": {"sent": -1}}),
    ],
)  # fmt: skip
def test_what_is_wrong_counts_as_not_said(key, value):
    assert said(GOOD | {key: value}, TRACE) == {name: GOOD[name] for name in GOOD if name != key}


@pytest.mark.parametrize(("key", "value"), [("lost", [None]), ("lost", 1), ("unknown", {}), ("isa", -1), ("rows", [1])])
def test_of_tracepoints(key, value):
    assert said({"lost": [1], key: value}, TRACEPOINTS) == ({} if key == "lost" else {"lost": [1]})


@pytest.mark.long
@given(st.dictionaries(st.sampled_from(list(GOOD)), json_values))
def test_any_summary_becomes_one_of_known_kinds(summary):
    kept = said(summary, TRACE)
    assert said(kept, TRACE) == kept
    json.dumps(kept)
    for key in ("rows", "dropped", "interrupted"):
        assert all(type(count) is int for count in kept.get(key, []))
