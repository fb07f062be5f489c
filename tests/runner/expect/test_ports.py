import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expect.ports import LONGEST, missing, unmet
from vmspec.plan.settings import PlannedVerdict

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def came(written, text=None, **members):
    verdict = PlannedVerdict("expect.ports.p", "p", "virtio-console0.p", text, members)
    found = [one.came for one in unmet((verdict,), {"p": written})]
    return found[0] if found else None


@pytest.mark.parametrize("written", [b"okX", b"okX\n", b"no\r\nokX\r\n\r\n", b"no\nokX\n\n"])
def test_the_last_line_is_the_verdict(written):
    assert came(written, "okX") is None


def test_a_port_that_the_guest_has_not_opened():
    [failure] = unmet((PlannedVerdict("expect.ports.p", "p", "virtio-console0.p", "ok"),), {})
    assert (failure.came, failure.look) == (
        "the guest wrote no line to it",
        "vmtrace console --device virtio-console0.p",
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"", "the guest wrote no line to it"),
        (b"\n\n", "the guest wrote no line to it"),
        (b"ok \n", "it is 'ok '"),
        (b"\xff\x1b", r"it is '�\x1b'"),
    ],
)
def test_another_text(written, expected):
    assert came(written, "ok") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b'{"a": 1, "b": [{"c": true}], "d": 2}', None),
        (b'{"a": 1.0, "b": [{"c": true, "e": 0}]}', None),
        (b'{"a": 2, "b": [{"c": true}]}', """a is different in '{"a": 2, "b": [{"c": true}]}'"""),
        (b'{"b": [{"c": true}]}', """a is different in '{"b": [{"c": true}]}'"""),
        (b'{"a": 1, "b": [{"c": 1}]}', """b[0].c is different in '{"a": 1, "b": [{"c": 1}]}'"""),
        (b'{"a": 1, "b": []}', """b is different in '{"a": 1, "b": []}'"""),
        (b"[1]", "it is different in '[1]'"),
        (b"{", "it is not JSON: '{'"),
        (b"[" * 50_000, "it is not JSON: '" + "[" * 200 + "'"),
        (b'"' + b"x" * LONGEST, "it has 65,537 bytes, more than 65,536"),
    ],
)
def test_json(written, expected):
    assert came(written, a=1, b=[{"c": True}]) == expected


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_members_that_are_there_are_enough(members, others):
    assert missing(members, others | members) is None
    assert came(json.dumps(others | members).encode(), **{}) is None


@given(st.binary(max_size=40), st.text(max_size=5) | st.none())
def test_no_bytes_break_it(written, text):
    verdict = PlannedVerdict("expect.ports.p", "p", "virtio-console0.p", text, {} if text else {"a": 1})
    assert all(str(one).isprintable() for one in unmet((verdict,), {"p": written}))
