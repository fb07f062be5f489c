"""What has changed since a lock was made: exactly that."""

import math

import pytest
from attrs import evolve
from hypothesis import given

from tests.vmspec.lock.locks import HASH, LOCK, OTHER, locks, with_spec
from vmspec.lock.drift import compare
from vmspec.lock.model import LockedImage, May
from vmspec.schema.cpuid_leaves import Answer, Leaf


def spec(**tables):
    return with_spec(LOCK, LOCK.spec | tables)


def image(name, **changes):
    return evolve(LOCK, images=LOCK.images | {name: evolve(LOCK.images[name], **changes)})


def cpuid(leaf, **registers):
    found = dict(LOCK.host.must.cpuid)
    found[leaf] = found.get(leaf, Answer(0, 0, 0, 0))._replace(**registers)
    return evolve(LOCK, host=evolve(LOCK.host, must=evolve(LOCK.host.must, cpuid=found)))


def may(**changes):
    return evolve(LOCK, host=evolve(LOCK.host, may=evolve(LOCK.host.may, **changes)))


def info(**changes):
    return evolve(LOCK, host=evolve(LOCK.host, info=evolve(LOCK.host.info, **changes)))


DEVICES = LOCK.spec["device"]
CASES = [
    (evolve(LOCK, vmrun="1.2.4"), "must", 'vmrun: was "1.2.3", is "1.2.4"'),
    (spec(vm=LOCK.spec["vm"] | {"memory": "2MiB"}), "must", 'spec.vm.memory: was "1MiB", is "2MiB"'),
    (spec(vm=LOCK.spec["vm"] | {"vcpus": True}), "must", "spec.vm.vcpus: was 1, is true"),
    (spec(vm={"name": "x", "vcpus": 1}), "must", 'spec.vm.memory: is gone, it was "1MiB"'),
    (spec(cpu={"model": "host", "disable": ["avx"]}), "must", 'spec.cpu.disable: was [], is ["avx"]'),
    (spec(boot={"mode": "real", "unpack": True}), "must", 'spec.boot: is new: {mode = "real", unpack = true}'),
    (spec(device=DEVICES[:1]), "must", 'spec.device[1]: is gone, it was {kind = "python", options = {n = 1}}'),
    (spec(device=[DEVICES[0], DEVICES[1] | {"options": {"n": 2}}]), "must", "spec.device[1].options.n: was 1, is 2"),
    (
        image("kernel", sha256=OTHER),
        "must",
        f"images.kernel: was 1,234 bytes, sha256 {HASH}, is 1,234 bytes, sha256 {OTHER} (vmlinuz)",
    ),
    (
        image("kernel", sha256=OTHER, size=1, path="k"),
        "must",
        f"images.kernel: was 1,234 bytes, sha256 {HASH}, is 1 byte, sha256 {OTHER} (vmlinuz, now k)",
    ),
    (
        evolve(LOCK, images={"virtio-blk0/path": LOCK.images["virtio-blk0/path"]}),
        "must",
        f"images.kernel: is gone, it was 1,234 bytes, sha256 {HASH}",
    ),
    (
        evolve(LOCK, images=LOCK.images | {"python1/a.py": LockedImage("a.py", 2, OTHER)}),
        "must",
        f'images."python1/a.py": is new: 2 bytes, sha256 {OTHER}',
    ),
    (
        image("virtio-blk0/path", sha256=OTHER),
        "may",
        f'images."virtio-blk0/path": was 512 bytes, sha256 {HASH}, is 512 bytes, sha256 {OTHER} '
        "(the guest writes to it)",
    ),
    (
        image("virtio-blk0/path", sha256=OTHER, size=1024),
        "must",
        f'images."virtio-blk0/path": was 512 bytes, sha256 {HASH}, is 1,024 bytes, sha256 {OTHER} (/disks/root.img)',
    ),
    (
        image("kernel", sha256=""),
        "may",
        f"images.kernel: was 1,234 bytes, sha256 {HASH}, is 1,234 bytes, not hashed",
    ),
    (
        image("kernel", sha256="", size=1235),
        "must",
        f"images.kernel: was 1,234 bytes, sha256 {HASH}, is 1,235 bytes, not hashed",
    ),
    (
        cpuid(Leaf(1), ecx=0),
        "must",
        "host.must.cpuid.0x00000001 ecx: was 0x10000000, is 0x00000000 (bit 28, avx, is 0)",
    ),
    (
        cpuid(Leaf(7, 0), edx=0xC),
        "must",
        'host.must.cpuid."0x00000007.0" edx: was 0x00000008, is 0x0000000c (bit 2, avx512_4vnniw, is 1)',
    ),
    (
        cpuid(Leaf(0x80000002), eax=0xFFFFFFFF),
        "must",
        "host.must.cpuid.0x80000002 eax: was 0x00000000, is 0xffffffff (32 bits differ)",
    ),
    (may(modules=("kvm",)), "may", 'host.may.modules: was ["kvm", "kvm_amd"], is ["kvm"]'),
    (may(tsc_khz=2_100_001), "may", "host.may.tsc_khz: was 2100000, is 2100001"),
    (
        may(capabilities={"KVM_CAP_IRQCHIP": 0, "KVM_CAP_NR_VCPUS": 4}),
        "may",
        "host.may.capabilities.KVM_CAP_IRQCHIP: was 1, is 0",
    ),
    (
        may(capabilities=LOCK.host.may.capabilities | {"KVM_CAP_NEW": 1}),
        "may",
        "host.may.capabilities.KVM_CAP_NEW: is new: 1",
    ),
    (info(kernel="6.2"), "info", 'host.info.kernel: was "6.1.0-30-amd64", is "6.2"'),
    (info(processor="B"), "info", 'host.info.processor: was "A processor", is "B"'),
]


@pytest.mark.parametrize(("now", "weight", "text"), CASES, ids=[text.partition(": ")[0] for _, _, text in CASES])
def test_one_change_is_named_and_nothing_else(now, weight, text):
    (change,) = compare(LOCK, now)
    assert (change.weight, str(change)) == (weight, text)


@pytest.mark.parametrize("register", Answer._fields)
@pytest.mark.parametrize("leaf", [Leaf(0), Leaf(1), Leaf(7, 0), Leaf(0xD, 2), Leaf(0x80000008)])
@pytest.mark.parametrize("bit", [0, 17, 31])
def test_any_bit_of_cpuid_is_named(leaf, register, bit):
    before = getattr(LOCK.host.must.cpuid.get(leaf, Answer(0, 0, 0, 0)), register)
    (change,) = compare(LOCK, cpuid(leaf, **{register: before ^ 1 << bit}))
    assert change.path[-1] == str(leaf)
    assert (change.part, f"bit {bit}" in change.note) == (register, True)


@given(locks)
def test_a_lock_does_not_differ_from_itself(lock):
    assert compare(lock, lock) == ()


@given(locks, locks)
def test_two_locks_differ_the_other_way_round_in_the_same_things(one, other):
    def names(changes):
        return {(change.name, change.weight) for change in changes}

    assert names(compare(one, other)) == names(compare(other, one))


def test_where_an_image_is_does_not_count():
    assert compare(LOCK, image("kernel", path="elsewhere")) == ()


def test_a_leaf_of_zeros_is_as_good_as_none():
    assert compare(LOCK, cpuid(Leaf(9), eax=0)) == ()


def test_a_feature_that_the_spec_removes_is_a_change_of_the_spec_alone():
    removed = with_spec(cpuid(Leaf(1), ecx=0), LOCK.spec | {"cpu": {"model": "host", "disable": ["avx"]}})
    assert [change.name for change in compare(LOCK, removed)] == ["spec.cpu.disable"]
    other = with_spec(cpuid(Leaf(1), ecx=1 << 3), removed.spec)
    assert [change.name for change in compare(LOCK, other)][1:] == ["host.must.cpuid.0x00000001 ecx"]


def test_values_that_are_equal_in_python_are_not_the_same():
    assert [change.name for change in compare(spec(x=1), spec(x=1.0))] == ["spec.x"]
    assert compare(spec(x=math.nan), spec(x=math.nan)) == ()


def test_a_long_value_is_cut_in_a_message_and_whole_in_the_change():
    (change,) = compare(spec(x="a" * 500), spec(x="b"))
    assert (len(change.message) < 200, change.old) == (True, '"' + "a" * 500 + '"')


def test_two_hosts_without_anything_are_the_same():
    assert compare(may(modules=(), tsc_khz=0, capabilities={}), evolve(LOCK, host=evolve(LOCK.host, may=May()))) == ()
