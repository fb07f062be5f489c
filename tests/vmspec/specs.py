"""Hypothesis strategies: whole valid specs, and TOML values of any kind."""

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from vmspec.devices.models import ACPI, I8042, KINDS, RTC, DebugExit, DebugPort, Device, PostPort, Python, Serial
from vmspec.schema.guest_values import REGISTERS
from vmspec.spec.models import CPU, VM, Boot, Expect, Memory, Spec, Trace
from vmspec.trace.ends import ENDS

WORD = (1 << 64) - 1

texts = st.text(st.characters(exclude_categories=["Cs"]))
lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
names = lines.filter(bool)
file_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def files(use: str) -> st.SearchStrategy[Path]:
    """Paths of files for one use; a file that is written has no other."""
    return st.builds(lambda name: Path("/") / use / name.lstrip("/"), file_names)


identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2069, 12, 30), timezones=st.just(UTC))

scalars = st.one_of(
    texts,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.booleans(),
    st.floats(allow_nan=False),
    st.datetimes(),
    st.dates(),
    st.times(),
)
toml_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def maybe(strategy):
    return st.none() | strategy


@st.composite
def vms(draw) -> VM:
    irqchip = draw(st.sampled_from(["auto", "kernel", "none"]))
    return VM(
        name=draw(names),
        memory=draw(st.integers(256, 1 << 28)) * 4096,
        vcpus=draw(st.integers(1, 254)),
        timeout=draw(maybe(st.integers(1, 10**15))),
        irqchip=irqchip,
        pit=draw(maybe(st.just(False) if irqchip == "none" else st.booleans())),
    )


boots = st.builds(
    lambda image, **rest: Boot(**image, **rest),
    image=st.fixed_dictionaries({"kernel": files("kernel")}) | st.fixed_dictionaries({"code": st.binary(min_size=1)}),
    initrd=maybe(files("initrd")),
    cmdline=lines,
    unpack=st.booleans(),
    symbols=maybe(files("symbols")),
    mode=maybe(st.sampled_from(["real", "protected", "long"])),
    load=maybe(st.integers(0, WORD)),
    entry=maybe(st.integers(0, WORD)),
    registers=st.dictionaries(st.sampled_from(REGISTERS), st.integers(0, WORD)),
)


@st.composite
def spans(draw, end: int) -> tuple[int, int]:
    start = draw(st.integers(0, end - 1))
    return start, draw(st.integers(1, end - start))


outputs = st.sampled_from(["stdout", "none"]) | files("output")

pythons = st.builds(
    lambda place, **rest: Python(**place, **rest),
    place=st.fixed_dictionaries({"port": spans(1 << 16)}) | st.fixed_dictionaries({"mmio": spans(1 << 52)}),
    cls=st.builds("{}:{}".format, identifiers, identifiers),
    irq=maybe(st.integers(0, 23)),
    options=st.dictionaries(identifiers, toml_values, max_size=3),
)

devices: dict[type[Device], st.SearchStrategy[Device]] = {
    Serial: st.builds(Serial, com=st.integers(1, 4), input=st.just("none") | files("input"), output=outputs),
    I8042: st.builds(I8042),
    RTC: st.builds(RTC, time=maybe(moments)),
    ACPI: st.builds(ACPI),
    DebugPort: st.builds(DebugPort, port=st.integers(0, 0xFFFF), output=outputs),
    PostPort: st.builds(PostPort),
    DebugExit: st.builds(DebugExit, port=st.integers(0, 0xFFFC), size=st.sampled_from([1, 2, 4])),
    Python: pythons,
}
assert set(devices) == set(KINDS.values()), "a strategy for each kind of device"

expects = st.builds(
    lambda end, console, absent: Expect(console=console, absent=absent, **end),
    end=st.fixed_dictionaries({"exit": st.lists(st.sampled_from(ENDS)).map(tuple)})
    | st.fixed_dictionaries({"exit": st.just(("debug-exit", "halt")), "status": st.integers(0, 255)}),
    console=st.lists(texts).map(tuple),
    absent=st.lists(texts).map(tuple),
)

specs = st.builds(
    Spec,
    vm=vms(),
    boot=boots,
    memory=st.builds(
        Memory,
        backing=st.sampled_from(["anonymous", "memfd"]),
        pages=st.sampled_from(["transparent", "small"]),
        locked=st.booleans(),
        prefault=st.booleans(),
    ),
    cpu=st.builds(CPU, disable=st.lists(names).map(tuple)),
    devices=st.lists(st.one_of(*devices.values()), max_size=4).map(tuple),
    trace=st.builds(
        Trace,
        path=maybe(files("trace")),
        rip=st.booleans(),
        full=st.sampled_from(["wait", "drop"]),
        ring=st.integers(6, 24).map(lambda power: 1 << power),
    ),
    expect=expects,
).filter(lambda spec: not list(spec.faults()))
