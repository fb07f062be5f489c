from hypothesis import given
from hypothesis import strategies as st

from runner.x86.cpuid import CpuidEntry, completed, for_vcpu
from vmspec.plan.settings import PlannedCPU

INTEL, AMD = 0x756E6547, 0x68747541
ALL = 0xFFFFFFFF


def entry(function: int, index: int = 0, flags: int = 0, **registers: int) -> CpuidEntry:
    return CpuidEntry(function, index, flags, **({"eax": 0, "ebx": 0, "ecx": 0, "edx": 0} | registers))


def host(vendor: int = INTEL, highest: int = 0x1F) -> list[CpuidEntry]:
    """What a host's KVM may say: everything that depends on the vCPU is wrong for the guest."""
    return [
        entry(0x0, eax=highest, ebx=vendor),
        entry(0x1, ebx=0x13_20_08_00, ecx=0x7FFFFFFF, edx=ALL),
        entry(0x4, 0, 1, eax=0xFC004121),  # level 1 data
        entry(0x4, 1, 1, eax=0xFC004143),  # level 2
        entry(0x4, 2, 1, eax=0xFC1FC163),  # level 3
        entry(0x4, 3, 1),
        entry(0x7, 0, 1, ebx=ALL, ecx=ALL, edx=ALL),
        entry(0x7, 1, 1, eax=ALL),
        entry(0xB, 0, 1, eax=1, ebx=2, ecx=0x100, edx=19),
        entry(0xB, 1, 1, eax=6, ebx=40, ecx=0x201, edx=19),
        entry(0x1F, 0, 1, eax=1, ebx=2, ecx=0x100, edx=19),
        entry(0x80000001, ecx=ALL & ~2, edx=ALL),
        entry(0x80000008, eax=0x3030, ecx=0x403F),
        entry(0x8000001D, 3, 1, eax=0x1C163),
        entry(0x8000001E, eax=19, ebx=0x109, ecx=0x303),
        entry(0x80000026, 0, 1, eax=1, ebx=2, ecx=0x100),
    ]


def leaf(entries: list[CpuidEntry], function: int, index: int = 0) -> CpuidEntry:
    (found,) = [one for one in entries if (one.function, one.subleaf) == (function, index)]
    return found


def guest(vcpu: int = 0, vcpus: int = 1, disable: tuple[str, ...] = (), vendor: int = INTEL) -> list[CpuidEntry]:
    return for_vcpu(host(vendor), vcpu, vcpus, PlannedCPU(disable=disable), tsc_deadline=True)


def test_name_and_caches_that_kvm_leaves_out_are_the_hosts() -> None:
    supported = [
        entry(0x0, eax=0x1F),
        entry(0x80000000, eax=0x80000008),
        entry(0x80000003),
        entry(0x80000004, eax=0x78563412),
        entry(0x80000008, eax=0x3030),
    ]
    entries = completed(supported, lambda function: (function, 2, 3, 4))
    assert [(one.function, *one[3:]) for one in sorted(entries)] == [
        (0x0, 0x1F, 0, 0, 0),
        (0x80000000, 0x80000008, 0, 0, 0),
        (0x80000002, 0x80000002, 2, 3, 4),
        (0x80000003, 0x80000003, 2, 3, 4),
        (0x80000004, 0x78563412, 0, 0, 0),
        (0x80000005, 0x80000005, 2, 3, 4),
        (0x80000006, 0x80000006, 2, 3, 4),
        (0x80000008, 0x3030, 0, 0, 0),
    ]


def test_no_leaf_is_made_up_beyond_the_hosts_highest() -> None:
    assert completed([entry(0x80000000, eax=0x80000003)], lambda function: (1, 1, 1, 1))[-1].function == 0x80000003


def test_a_vendor_of_the_spec_s_takes_the_place_of_the_hosts() -> None:
    supported = [entry(0x0, eax=0xD, ebx=AMD), entry(0x80000000, eax=0x8000001F, ebx=AMD), entry(0x80000001, ecx=ALL)]
    cpu = PlannedCPU(vendor="GenuineIntel")
    entries = for_vcpu(supported, 0, 1, cpu, tsc_deadline=True)
    for function, highest in ((0x0, 0xD), (0x80000000, 0x8000001F)):
        assert leaf(entries, function)[3:] == (highest, INTEL, 0x6C65746E, 0x49656E69)
    assert leaf(entries, 0x80000001).ecx == ALL  # the bit that AMD alone has stays


def test_leaf_1_has_the_vcpus_apic_id_and_the_packages_size() -> None:
    assert leaf(guest(2, 3), 0x1).ebx == 0x02_04_08_00


def test_ht_bit_is_for_more_than_one() -> None:
    assert [leaf(guest(0, vcpus), 0x1).edx >> 28 & 1 for vcpus in (1, 2)] == [0, 1]


def test_guest_knows_that_it_is_one() -> None:
    assert leaf(guest(), 0x1).ecx >> 31


def test_tsc_deadline_is_as_the_capability() -> None:
    bits = [
        leaf(for_vcpu(host(), 0, 1, PlannedCPU(), tsc_deadline=capable), 0x1).ecx >> 24 & 1 for capable in (False, True)
    ]
    assert bits == [0, 1]


def test_caches_of_levels_1_and_2_are_a_cores_own() -> None:
    assert [leaf(guest(0, 4), 0x4, index).eax for index in (0, 1)] == [0x0C000121, 0x0C000143]


def test_cache_of_level_3_is_the_packages() -> None:
    assert leaf(guest(0, 4), 0x4, 2).eax == 0x0C000000 | 3 << 14 | 0x163


def test_no_cache_stays_none() -> None:
    assert leaf(guest(0, 4), 0x4, 3).eax == 0


def test_extended_topology_has_threads_cores_and_an_end() -> None:
    for function in (0xB, 0x1F):
        levels = [leaf(guest(4, 5), function, index) for index in range(3)]
        assert [(level.eax, level.ebx, level.ecx, level.edx) for level in levels] == [
            (0, 1, 0x100, 4),
            (3, 5, 0x201, 4),
            (0, 0, 0x002, 4),
        ]


def test_extended_topology_is_not_above_the_highest_leaf() -> None:
    entries = for_vcpu(host(highest=0xD), 0, 2, PlannedCPU(), tsc_deadline=True)
    assert {one.function for one in entries} & {0xB, 0x1F} == {0xB}


def test_amd_counts_cores() -> None:
    entries = guest(2, 3, vendor=AMD)
    assert leaf(entries, 0x80000008).ecx == 2 << 12 | 2
    assert leaf(entries, 0x80000001).ecx & 2
    extended = leaf(entries, 0x8000001E)
    assert (extended.eax, extended.ebx, extended.ecx) == (2, 2, 0)


def test_intel_has_no_amd_core_count() -> None:
    assert leaf(guest(2, 3), 0x80000008) == leaf(host(), 0x80000008)


def test_amd_cache_of_level_3_is_the_packages() -> None:
    assert leaf(guest(0, 4, vendor=AMD), 0x8000001D, 3).eax == 3 << 14 | 0x163


def test_other_form_of_topology_is_left_out() -> None:
    assert all(one.function != 0x80000026 for one in guest())


def test_disabled_features_are_gone_and_nothing_else() -> None:
    with_all, without = guest(), guest(disable=("avx512f", "avx_vnni", "aes", "nx"))
    changed = {
        (old.function, old.subleaf, register): getattr(old, register) ^ getattr(new, register)
        for old, new in zip(with_all, without, strict=True)
        for register in ("eax", "ebx", "ecx", "edx")
        if getattr(old, register) != getattr(new, register)
    }
    assert changed == {
        (0x7, 0, "ebx"): 1 << 16,
        (0x7, 1, "eax"): 1 << 4,
        (0x1, 0, "ecx"): 1 << 25,
        (0x80000001, 0, "edx"): 1 << 20,
    }


@given(st.integers(1, 254), st.sampled_from([INTEL, AMD]), st.data())
def test_any_number_of_vcpus_fits_the_registers(vcpus: int, vendor: int, data: st.DataObject) -> None:
    vcpu = data.draw(st.integers(0, vcpus - 1))
    entries = guest(vcpu, vcpus, vendor=vendor)
    assert all(0 <= value <= ALL for one in entries for value in (one.eax, one.ebx, one.ecx, one.edx))
    assert leaf(entries, 0x1).ebx >> 24 == vcpu == leaf(entries, 0xB).edx
    # The cores' ids fit into the bits that the topology gives them.
    assert vcpu < 1 << leaf(entries, 0xB, 1).eax


def test_what_is_completed_is_whole_and_in_place() -> None:
    supported = [entry(0x80000003, 5, 1), entry(0x80000000, eax=0x80000003), entry(0x1)]
    assert completed(supported, lambda function: (1, 2, 3, 4)) == [
        CpuidEntry(0x80000003, 0, 0, 1, 2, 3, 4),
        entry(0x80000000, eax=0x80000003),
        entry(0x1),
        CpuidEntry(0x80000002, 0, 0, 1, 2, 3, 4),
    ]


def test_a_host_without_extended_leaves_stays_one() -> None:
    assert completed([entry(0x0, eax=1)], lambda function: (1, 1, 1, 1)) == [entry(0x0, eax=1)]


def test_a_host_without_leaf_0_has_no_topology() -> None:
    assert for_vcpu([entry(0x1)], 0, 1, PlannedCPU(), tsc_deadline=False) == [entry(0x1, ebx=1 << 16, ecx=1 << 31)]


def test_amd_with_one_core_is_not_many() -> None:
    ones = [entry(0x0, ebx=AMD), entry(0x80000001, ecx=ALL), entry(0x8000001E, eax=ALL, ebx=ALL, ecx=ALL, edx=ALL)]
    one, two = (for_vcpu(ones, vcpus - 1, vcpus, PlannedCPU(), tsc_deadline=True) for vcpus in (1, 2))
    assert [leaf(entries, 0x80000001).ecx for entries in (one, two)] == [ALL & ~2, ALL]
    assert [leaf(entries, 0x8000001E)[3:] for entries in (one, two)] == [(0, 0, 0, 0), (1, 1, 0, 0)]


def test_amd_cache_keeps_all_but_who_shares_it() -> None:
    caches = [entry(0x0, ebx=AMD), entry(0x8000001D, 3, 1, eax=ALL), entry(0x8000001D, 4, 1, eax=0xFFFFFFE0)]
    entries = for_vcpu(caches, 0, 1, PlannedCPU(), tsc_deadline=True)
    assert (leaf(entries, 0x8000001D, 3).eax, leaf(entries, 0x8000001D, 4).eax) == (ALL & ~(0xFFF << 14), 0xFFFFFFE0)


def test_levels_of_the_topology_have_indices_and_room_for_a_power_of_two() -> None:
    entries = guest(3, 4)
    assert [leaf(entries, 0xB, index).flags for index in range(3)] == [1, 1, 1]
    assert leaf(entries, 0xB, 1).eax == 2
