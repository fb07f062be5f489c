"""Kinds of devices by their names."""

import pytest

from tracer.devicenames import called, kind_of
from vmspec.devices import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_every_kind(kind):
    assert {kind_of(f"{kind}0"), kind_of(f"{kind}12"), kind_of(f"a/b/{kind}0")} == {kind}


def test_a_kind_that_this_version_does_not_know():
    assert kind_of("toaster3") == "toaster"
    assert kind_of("-") == "-"


def test_what_a_device_may_be_called():
    assert called("web/i80420") == ("web/i80420", "i80420", "web/i8042", "i8042")
