"""Places of accesses in the regions of devices."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.decode import named
from tracer.decode.regions import Regions

PORT = {"name": "port", "space": "port", "size": 4, "start": 0x300}
FRAME = {"name": "frame", "space": "mmio", "size": 0x1000, "start": None}


def regions(**devices):
    return Regions({"vmrun.regions": json.dumps(devices)})


@pytest.mark.parametrize(
    ("region", "addr", "place"),
    [
        (0, 0x300, "card0 port+0x0"),
        (0, 0x303, "card0 port+0x3"),
        (1, 0xD000_0010, "card0 frame+0x10"),
        (1, 0x1_0000_0FFF, "card0 frame+0xfff"),
        (0, 0x304, ""),  # not in the region: the trace is damaged
        (0, 0x2FF, ""),
        (2, 0x300, ""),
    ],
)
def test_the_place_is_the_region_and_the_offset_wherever_it_lies(region, addr, place):
    assert regions(card0=[PORT, FRAME]).place("card0", region, addr) == place


def test_a_region_that_moves_is_named_though_it_is_the_only_one():
    assert regions(card0=[FRAME]).place("card0", 0, 0xD000_0010) == "card0 frame+0x10"


def test_a_device_with_one_region_in_a_fixed_place_needs_no_name_of_it():
    alone = regions(card0=[PORT])
    assert (bool(alone), alone.place("card0", 0, 0x300), alone.place("other0", 0, 0x300)) == (False, "", "")


def test_a_known_register_keeps_its_name():
    assert named("io", 0x3F8, device="serial0", direction="write", within="serial0 port+0x0") == "COM1 THR"
    assert named("io", 0x300, device="card0", within="card0 port+0x0") == "card0 port+0x0"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "size", "start", "a"]), inner),
    max_leaves=12,
)


@given(values, st.integers(0, 255), st.integers(0, (1 << 64) - 1))
def test_any_metadata_is_read(told, region, addr):
    assert isinstance(regions(a=told, b=[told, told]).place("b", region, addr), str)
    assert not Regions({"vmrun.regions": json.dumps(told)[:-1]})
