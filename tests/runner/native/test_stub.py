"""The stub that mypy reads matches the C extension and the runner's code: ``make stub`` writes it."""

from tests.runner.native.stub import STUB, text


def test_the_stub_is_what_make_stub_writes():
    assert STUB.read_text() == text()
