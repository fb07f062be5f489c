"""Kinds of devices by their names."""

import pytest

from tracer.format.devicenames import called, kind_of
from vmspec.devices.models import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_every_kind(kind):
    first = f"{kind}-0" if kind[-1].isdigit() else f"{kind}0"
    assert {kind_of(first), kind_of(f"{first}12"), kind_of(f"a/b/{first}")} == {kind}


def test_a_kind_that_this_version_does_not_know():
    assert kind_of("toaster3") == "toaster"
    assert kind_of("-") == "-"


def test_what_a_device_may_be_called():
    assert called("web/i8042-0") == ("web/i8042-0", "i8042-0", "web/i8042", "i8042")
