"""Lines of the protocol."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.errors import ControlError
from runner.control.protocol import Malformed, Request, answer, decode, encode, refusal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_a_request_or_malformed(line):
    with suppress(Malformed):
        assert isinstance(decode(line).verb, str)


@given(st.text(), st.dictionaries(st.text(), VALUES, max_size=3), st.none() | st.integers() | st.text())
def test_a_request_is_read_as_it_was_written(verb, arguments, id_):
    line = encode({"verb": verb, "arguments": arguments, "id": id_})
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == Request(verb, arguments, id_)


def test_arguments_and_id_may_be_left_out():
    assert decode(b'{"verb": "status"}\r\n') == Request("status", {}, None)


@pytest.mark.parametrize(
    ("line", "message", "id_"),
    [
        (b"", "not JSON", None),
        (b"pause", "not JSON", None),
        (b"\xff", "not JSON", None),
        (b'{"verb": "status"} x', "not JSON: Extra data", None),
        (b'{"verb": "pause", "arguments": {"timeout": NaN}}', "NaN is no JSON", None),
        (b"9" * 10_000, "not JSON", None),
        (b"[" * 100_000, "not JSON", None),
        (b"[]", "an object", None),
        (b"{}", 'an object with a "verb"', None),
        (b'{"verb": 1}', "the verb must be a string", None),
        (b'{"verb": "pause", "id": 1.5}', "the id must be", None),
        (b'{"verb": "pause", "id": true}', "the id must be", None),
        (b'{"verb": "pause", "id": 7, "arguments": [1]}', "the arguments must be an object", 7),
        (b'{"verb": "pause", "id": "a", "args": {}}', "no member 'args'", "a"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line, message, id_):
    with pytest.raises(Malformed, match=message) as caught:
        decode(line)
    assert caught.value.id == id_


def test_answers():
    assert answer(3, True) == {"id": 3, "result": True}
    error = ControlError("state", "the run\nhas ended")
    assert refusal("x", error) == {"id": "x", "error": {"kind": "state", "message": r"the run\nhas ended"}}
