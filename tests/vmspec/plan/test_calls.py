"""The KVM calls of a plan, each in every table."""

from itertools import combinations
from typing import get_args, get_type_hints

import pytest

from vmspec.plan import calls
from vmspec.plan.calls import Call, Ioctl, MsrRange, Slot, VcpuIoctl, VmIoctl

SHARED = {Ioctl, VcpuIoctl, VmIoctl}
CLASSES = get_args(Call)
SAMPLES = {int: 1, str: "a", Slot: Slot(0, 0, 4096, 0), tuple[MsrRange, ...]: (MsrRange(1, 2),)}


def sample(cls):
    return cls(*(SAMPLES[get_type_hints(cls)[name]] for name in cls._fields))


def test_every_class_is_among_the_calls():
    assert {cls for cls in vars(calls).values() if isinstance(cls, type) and issubclass(cls, Ioctl)} - SHARED == set(
        CLASSES
    )


def test_every_ioctl_has_one_class():
    assert len({cls.ioctl for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_no_call_can_be_changed(cls):
    with pytest.raises(AttributeError):
        sample(cls).other = 1


def test_calls_with_equal_arguments_differ():
    for one, other in combinations(map(sample, CLASSES), 2):
        assert one != other
    for one in map(sample, CLASSES):
        assert one == sample(type(one))
        assert hash(one) == hash(sample(type(one)))
