"""Locks for tests: one with everything in it, and a strategy of any."""

from attrs import evolve
from hypothesis import strategies as st

from tests.vmspec import specs
from tests.vmspec.schema.test_cpuid_table import tables
from vmspec.lock.model import Host, Info, Lock, LockedImage, May, Must, Verified
from vmspec.lock.table import FORMAT, spec_digest
from vmspec.schema.cpuid_leaves import Answer, Leaf, table

HASH, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
SPEC = {
    "vm": {"name": "x", "memory": "1MiB", "vcpus": 1},
    "cpu": {"model": "host", "disable": []},
    "device": [{"kind": "serial", "com": 1}, {"kind": "python", "options": {"n": 1}}],
}
LOCK = Lock(
    format=FORMAT,
    vmrun="1.2.3",
    spec_sha256=spec_digest(SPEC),
    spec=SPEC,
    images={
        "kernel": LockedImage("vmlinuz", 1234, HASH),
        "virtio-blk0/path": LockedImage("/disks/root.img", 512, HASH, written=True),
    },
    host=Host(
        must=Must({Leaf(1): Answer(0x1, 0x2, 1 << 28, 0x4), Leaf(7, 0): Answer(0, 0, 0, 0x8)}),
        may=May(("kvm", "kvm_amd"), 2_100_000, {"KVM_CAP_IRQCHIP": 1, "KVM_CAP_NR_VCPUS": 4}),
        info=Info("6.1.0-30-amd64", "A processor"),
    ),
    verified=Verified("exact", 5, "halt", 9759, HASH, OTHER),
)


def with_spec(lock: Lock, spec: dict) -> Lock:
    return evolve(lock, spec=spec, spec_sha256=spec_digest(spec))


hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
images = st.builds(LockedImage, specs.texts, st.integers(0, 1 << 62), hashes | st.just(""), st.booleans())
hosts = st.builds(
    Host,
    st.builds(Must, tables.map(lambda found: table(found.items()))),
    st.builds(
        May,
        st.lists(specs.texts, max_size=3).map(tuple),
        st.integers(0, 1 << 40),
        st.dictionaries(specs.texts, st.integers(-(1 << 31), (1 << 31) - 1), max_size=3),
    ),
    st.builds(Info, specs.texts, specs.texts),
)
verdicts = st.builds(
    Verified, st.sampled_from(["exact", "repeatable"]), st.integers(2, 1 << 40), specs.texts, st.integers(0, 1 << 40),
    hashes, hashes,
)  # fmt: skip
resolved = st.dictionaries(specs.texts, specs.toml_values, min_size=1, max_size=4)  # a spec has a name
locks = st.builds(
    lambda spec, version, *rest: Lock(FORMAT, version, spec_digest(spec), spec, *rest),
    resolved,
    specs.texts,
    st.dictionaries(specs.texts, images, max_size=3),
    hosts,
    st.none() | verdicts,
)
