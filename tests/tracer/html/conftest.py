"""Traces to report, and the page of one."""

import json

import pytest

import tracer
from tests.fakes import tracefakes
from tests.fakes.smallboot import IMAGES, SPEC, SUMMARY, exits_of_a_boot
from tests.fakes.tracefakes import record_all
from tracer.html.data import gather
from tracer.html.page import render


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Records exits with metadata and device names of a test's own; returns the trace's path."""

    def make(records, *, metadata=None, devices=None, summary=SUMMARY):
        monkeypatch.setattr(tracefakes, "METADATA", tracefakes.METADATA | (metadata or {}))
        if devices is not None:
            monkeypatch.setattr(tracefakes, "DEVICES", devices)
        path = tmp_path / "boot.arrow"
        record_all(path, records() if callable(records) else records, summary=summary)
        return path

    return make


@pytest.fixture
def boot(record):
    """The path of a small boot's trace."""
    return record(exits_of_a_boot, metadata={"vmrun.spec": SPEC, "vmrun.images": json.dumps(IMAGES)})


@pytest.fixture
def page():
    """The page of a trace."""

    def make(path, **options):
        trace = tracer.load(path)
        return render(trace, gather(trace), **options)

    return make
