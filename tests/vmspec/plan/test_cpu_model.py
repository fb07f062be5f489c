"""CPU models: what a host lacks of one, and the greatest common one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmspec.schema.test_cpuid_table import registers
from vmspec.plan.cpu_model import common, lacking
from vmspec.registers import cpuid as R
from vmspec.schema.cpuid_leaves import Answer, Leaf, table

VENDOR = {"ebx": 0x756E6547, "ecx": 0x6C65746E, "edx": 0x49656E69}
HOST = {
    Leaf(0): Answer(eax=0x20, **VENDOR),
    Leaf(1): Answer(0xC06F2, 0x10800, 0x9020_2201, 0x0F8B_FBFF),
    Leaf(7, 0): Answer(1, 0x20, 0, 0x100),
    Leaf(7, 1): Answer(0x30, 0, 0, 0),
    Leaf(0xD, 0): Answer(7, 0x340, 0x340, 0),
    Leaf(0xD, 2): Answer(0x100, 0x240, 0, 0),
    Leaf(0x80000002): Answer(0x65746E49, 0, 0, 0),
    Leaf(0x80000008): Answer(0x302E, 0x200, 0, 0),
    Leaf(0x40000001): Answer(0x7EFB, 0, 0, 0),
}


def having(leaf, **changes):
    return HOST | {leaf: HOST.get(leaf, Answer(0, 0, 0, 0))._replace(**changes)}


def test_a_host_has_all_of_itself_and_of_less():
    assert [*lacking(HOST, HOST)] == []
    less = having(Leaf(1), ecx=0) | {Leaf(0): Answer(eax=1, **VENDOR), Leaf(0x80000008): Answer(0x2024, 0, 0, 0)}
    assert [*lacking(less, HOST)] == []
    assert [*lacking({Leaf(1): HOST[Leaf(1)]}, HOST)] == []


@pytest.mark.parametrize(
    ("leaf", "changes", "words"),
    [
        (Leaf(1), {"ecx": 0x9020_2203}, ["pclmulqdq (leaf 0x00000001 ecx, bit 1)"]),
        (Leaf(7, 0), {"ebx": 0x28}, ["bmi1 (leaf 0x00000007 ebx, bit 3)"]),
        (Leaf(7, 1), {"eax": 0x31}, ["bit 0 of eax in leaf 0x00000007.1"]),
        (Leaf(0xD, 0), {"eax": 0x207}, ["bit 9 of eax in leaf 0x0000000d"]),
        (Leaf(0x40000001), {"eax": 0x7EFF}, ["bit 2 of eax in leaf 0x40000001"]),
        (Leaf(0), {"eax": 0x21}, ["leaf 0x00000000 eax of 0x21: it has 0x20"]),
        (Leaf(0x80000008), {"eax": 0x3030}, ["leaf 0x80000008 eax of 0x3030: it has 0x302e"]),
        (Leaf(0x80000008), {"eax": 0x392E}, ["leaf 0x80000008 eax of 0x392e: it has 0x302e"]),
        (Leaf(0), {"ebx": 1}, ["leaf 0x00000000 ebx of 0x1: it has 0x756e6547, which must be the same"]),
        (Leaf(0xD, 2), {"ebx": 0x250}, ["leaf 0x0000000d.2 ebx of 0x250: it has 0x240, which must be the same"]),
        (Leaf(0x80000002), {"eax": 7}, []),
        (Leaf(1), {"eax": 0x10, "ebx": 7}, []),
        (Leaf(1), {"ecx": 0x9120_2201}, []),  # tsc_deadline_timer: vmrun sets it
        (Leaf(1), {"edx": 0x1F8B_FBFF}, []),  # HTT: the same
    ],
)
def test_what_a_host_lacks_is_named(leaf, changes, words):
    assert [*lacking(having(leaf, **changes), HOST)] == words


def test_a_leaf_that_the_host_has_not_is_zeros():
    assert [*lacking({Leaf(7, 2): Answer(0, 0, 0, 1)}, HOST)] == ["bit 0 of edx in leaf 0x00000007.2"]


def test_common_takes_bits_of_both_the_smaller_numbers_and_the_first_ones_name():
    one = having(Leaf(7, 0), ebx=0x28) | {Leaf(0x80000008): Answer(0x3920, 1, 0, 0)}
    other = having(Leaf(0x80000002), eax=7)
    made = common([one, other])
    assert made[Leaf(7, 0)].ebx == 0x20
    assert made[Leaf(0x80000008)] == Answer(0x3020, 0, 0, 0)
    assert made[Leaf(0x80000002)] == HOST[Leaf(0x80000002)]
    assert common([other, one])[Leaf(0x80000002)].eax == 7
    assert common([HOST]) == common([HOST, HOST]) == common([HOST] * 3) == HOST


def test_a_component_that_one_lacks_is_in_none():
    wide = having(Leaf(0xD, 0), eax=0x207) | {Leaf(0xD, 9): Answer(8, 0xA80, 0, 0)}
    for models in ([wide, HOST], [HOST, wide]):
        made = common(models)
        assert (made[Leaf(0xD, 0)].eax, Leaf(0xD, 9) in made, Leaf(0xD, 2) in made) == (7, False, True)


def test_tiles_that_one_lacks_are_in_none():
    tiles = having(Leaf(0xD, 0), eax=0x60007) | {Leaf(0x1D, 1): Answer(1, 2, 3, 4), Leaf(0x1E, 0): Answer(0, 5, 0, 0)}
    assert {leaf.function for leaf in common([tiles, HOST])} & {0x1D, 0x1E} == set()
    assert common([tiles, tiles]) == tiles


def test_two_vendors_and_two_layouts_have_nothing_in_common():
    with pytest.raises(ValueError, match=r"leaf 0x00000000 ebx of 0x756e6547: it has 0x1, which must be the same"):
        common([HOST, having(Leaf(0), ebx=1)])
    with pytest.raises(ValueError, match=r"leaf 0x0000000d.2 ebx"):
        common([HOST, having(Leaf(0xD, 2), ebx=0x250)])


features = st.builds(
    lambda version, seven, address, brand: table(
        (HOST | {Leaf(1): version, Leaf(7, 0): seven, Leaf(R.ADDRESS_SIZES): address, Leaf(R.BRAND_1): brand}).items()
    ),
    *[st.builds(Answer, registers, registers, registers, registers)] * 4,
)


@given(features, features, features)
def test_the_common_model_is_no_more_than_each(one, two, three):
    made = common([one, two, three])
    for model in (one, two, three):
        assert [*lacking(made, model)] == []
        assert common([made, model]) == made
