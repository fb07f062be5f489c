"""Regions of devices on the buses: two of different kinds, and one that moves while vCPUs run."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.devices.device import Device, MapError
from runner.devices.services import Services
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.inputs import Inputs
from runner.machine.regions import Doorbell
from runner.native import _native
from runner.recording.rings import Rings
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice
from vmspec.trace.record import FLAGS

ffi, lib = _native.ffi, _native.lib
RAM = Region("RAM", "mmio", 1 << 20, 0)
PIC = Region("the interrupt controller", "port", 2, 0x20)
CONTROL = Region("control", "port", 8, 0x300)
FRAME = Region("frame", "mmio", 0x1000)
PORTS = Region("ports", "port", 16)
HERE, THERE = 0xD0000000, 0xD0010000


class Card(Device):
    """Notes what it is asked; every read of Python's gives 0x77."""

    def __init__(self):
        self.calls = []

    def read(self, region, offset, size):
        self.calls.append(("read", region, offset, size))
        return 0x77

    def write(self, region, offset, size, value):
        self.calls.append(("write", region, offset, size, value))

    def written(self, region, offset, size, data):
        self.calls.append(("written", region, offset, size, data))


class Bench:
    """Devices with such regions on a bus, and the loops of some vCPUs."""

    def __init__(self, make_loop, *regions, vcpus=1):
        planned = [PlannedDevice(f"d{n}", "python", {}, tuple(own)) for n, own in enumerate(regions)]
        self.failures = []
        self.buses = Buses(planned, HostClock(), Inputs(), self.failures.append, (RAM, PIC))
        self.rings = Rings(vcpus, 64, "drop", None)
        self.rings.start(1_000_000)
        self.devices = [Card() for _ in planned]
        for index, device in enumerate(self.devices):
            self.buses.devices.append(device)
            device.attach(Services(self.buses.end_of(index), None, None, None, None, None, HostClock()))
        self.loops = [make_loop(self.buses.bus, self.rings.ring(n)) for n in range(vcpus)]
        for number, loop in enumerate(self.loops):
            loop.vcpu.reader = number

    def load(self, address, size=1, vcpu=0):
        self.finish(self.loops[vcpu].mmio(address, b"\xcc" * size, write=False), vcpu)
        return self.loops[vcpu].mmio_data(size)

    def into(self, port, size=1, vcpu=0):
        self.finish(self.loops[vcpu].io(port, size, b"\xcc" * size, write=False), vcpu)
        return self.loops[vcpu].port_data(size)

    def store(self, address, data, vcpu=0):
        self.finish(self.loops[vcpu].mmio(address, data, write=True), vcpu)

    def finish(self, access, vcpu):
        while access:
            self.buses.answer(access)
            access = self.loops[vcpu].go_on()

    def replaced(self):
        """How many maps wait to be freed."""
        count, at = 0, self.buses.bus.replaced
        while at != ffi.NULL:
            count, at = count + 1, at.next
        return count

    def close(self):
        self.buses.close()
        self.rings.close()


@pytest.fixture
def bench(make_loop):
    made = []

    def build(*regions, **options):
        made.append(Bench(make_loop, *regions, **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture
def card(bench):
    """One device with fixed ports and a frame of memory; a second one beside it."""
    return bench((CONTROL, FRAME), (Region("rom", "mmio", 0x1000, THERE), PORTS))


def test_a_region_of_either_kind_counts_offsets_from_its_own_start(card):
    card.devices[0].bus.map("frame", HERE)
    card.load(HERE + 0x10, 4)
    card.into(0x305, 2)
    assert card.devices[0].calls == [("read", "frame", 0x10, 4), ("read", "control", 5, 2)]


def test_the_trace_says_which_region(card):
    card.devices[0].bus.map("frame", HERE)
    seen = []
    for access in (
        lambda: card.load(HERE),
        lambda: card.into(0x300),
        lambda: card.load(THERE),
        lambda: card.into(0x80),
    ):
        access()
        last = card.rings.last(0, 1)[0]
        seen.append((last["device"], last["region"]))
    assert seen == [(0, 1), (0, 0), (1, 0), (-1, 0)]


def test_a_region_without_a_place_is_nowhere_until_it_is_mapped(card):
    assert card.load(HERE) == b"\xff"
    card.devices[0].bus.map("frame", HERE)
    assert card.load(HERE) == b"\x77"
    card.devices[0].bus.unmap("frame")
    assert card.load(HERE) == b"\xff"


def test_what_is_published_queued_and_latched_goes_with_the_region(card):
    bus = card.devices[0].bus
    bus.shadow("frame", 0, 0x55)
    bus.writes("frame", 1, "coalesced")
    bus.shadow("frame", 2, 0)
    bus.shadow_writes("frame", 2, 0xFF)
    for start in (HERE, HERE + 0x1000):
        bus.map("frame", start)
        card.store(start + 1, b"q")
        card.store(start + 2, bytes((start >> 12 & 0xFF | 1,)))
    bus.unmap("frame")
    bus.map("frame", HERE)
    assert (card.load(HERE), card.load(HERE + 2), card.load(HERE + 0x1000)) == (b"\x55", b"\x01", b"\xff")
    card.buses.flush()
    assert [call[1:3] for call in card.devices[0].calls] == [("frame", 1), ("frame", 2), ("frame", 1), ("frame", 2)]


@pytest.mark.parametrize(
    ("region", "start", "said"),
    [
        ("frame", THERE, "region 'rom' of d1 is there (mmio 0xd0010000-0xd0010fff)"),
        ("frame", 0, "RAM is there (mmio 0x0-0xfffff)"),
        ("frame", 0xFF000, "RAM is there"),
        ("frame", HERE + 0x800, "the address a multiple of it"),
        ("frame", 1 << 52, "there is no such mmio address"),
        ("frame", -0x1000, "there is no such mmio address"),
        ("frame", (1 << 64) - 0x1000, "there is no such mmio address"),
        ("control", 0x310, "region 'control' of d0 has a fixed place, port 0x300-0x307"),
    ],
)
def test_a_place_that_cannot_be_had_is_rejected_and_changes_nothing(card, region, start, said):
    bus = card.devices[0].bus
    bus.map("frame", HERE)
    with pytest.raises(MapError) as caught:
        bus.map(region, start)
    assert said in str(caught.value)
    assert (card.load(HERE), card.into(0x300)) == (b"\x77", b"\x77")


@pytest.mark.parametrize(("start", "said"), [(0x20, "interrupt controller is there"), (0x10000, "no such port")])
def test_ports_are_checked_as_well(card, start, said):
    with pytest.raises(MapError, match=said):
        card.devices[1].bus.map("ports", start)


def test_a_fixed_region_is_not_unmapped(card):
    with pytest.raises(MapError, match="has a fixed place"):
        card.devices[0].bus.unmap("control")


def test_a_region_may_be_moved_onto_itself(card):
    card.devices[0].bus.map("frame", HERE)
    card.devices[0].bus.map("frame", HERE)
    assert card.load(HERE) == b"\x77"


class IOEventFDs:
    """What KVM has, by address; a second one at a place, or one that is not there, is an error, as in KVM."""

    def __init__(self):
        self.there = {}

    def __call__(self, fd, address, size, present):
        if present:
            assert address not in self.there
            self.there[address] = (fd, size)
        else:
            assert self.there.pop(address) == (fd, size)


def test_doorbells_go_with_their_region(card):
    kvm = card.buses.regions._ioeventfd = IOEventFDs()
    regions, bus = card.buses.regions, card.devices[0].bus
    frame, rom = 1, 2  # by their numbers in the plan
    regions.add_doorbell(frame, Doorbell(0x50, 4, 7))
    assert kvm.there == {}
    bus.map("frame", HERE)
    assert kvm.there == {HERE + 0x50: (7, 4)}
    regions.add_doorbell(frame, Doorbell(0x54, 4, 7))
    regions.add_doorbell(rom, Doorbell(0, 2, 8))
    fixed = {THERE: (8, 2)}
    assert kvm.there == {HERE + 0x50: (7, 4), HERE + 0x54: (7, 4)} | fixed
    bus.map("frame", HERE)
    assert kvm.there == {HERE + 0x50: (7, 4), HERE + 0x54: (7, 4)} | fixed
    bus.map("frame", HERE + 0x1000)
    assert kvm.there == {HERE + 0x1050: (7, 4), HERE + 0x1054: (7, 4)} | fixed
    with pytest.raises(MapError):
        bus.map("frame", THERE)
    assert len(kvm.there) == 3
    bus.unmap("frame")
    bus.unmap("frame")
    assert kvm.there == fixed


def test_an_access_goes_on_in_the_region_that_it_found(card):
    """The device unmaps the region while it answers: the bytes are still the access's."""
    device = card.devices[0]
    device.bus.map("frame", HERE)
    device.read = lambda region, offset, size: device.bus.unmap("frame") or 0x77
    assert (card.load(HERE, 4), card.load(HERE)) == (b"\x77\0\0\0", b"\xff")


# Against a model

STARTS = st.integers(0, 40).map(lambda number: number * 8)
OPERATIONS = st.lists(
    st.tuples(st.just("map"), st.integers(0, 4), STARTS | st.integers(-4, 400))
    | st.tuples(st.just("unmap"), st.integers(0, 4))
    | st.tuples(st.just("shadow"), st.integers(0, 4), st.integers(0, 7), st.integers(0, 255) | st.none())
    | st.tuples(st.just("read"), st.integers(0, 340)),
    max_size=60,
)
SIZES = (8, 8, 16, 32, 64)


@given(OPERATIONS, st.booleans())
def test_any_maps_accesses_and_unmaps_are_as_a_plain_model_has_them(make_loop, operations, mmio):
    space = "mmio" if mmio else "port"
    regions = [Region(f"r{n}", space, size) for n, size in enumerate(SIZES)]
    taken = Region("low", space, 16, 0)
    bench = Bench(make_loop, regions[:3], regions[3:])
    bench.buses.regions._taken = (taken,)
    buses = [bench.devices[0 if n < 3 else 1].bus for n in range(5)]
    where, published = {}, {}
    for operation in operations:
        match operation:
            case ("map", n, start):
                spans = [(at, SIZES[m]) for m, at in where.items() if m != n] + [(0, 16)]
                good = start % SIZES[n] == 0 and start >= 0
                good = good and not any(start < at + size and at < start + SIZES[n] for at, size in spans)
                if good:
                    buses[n].map(f"r{n}", start)
                    where[n] = start
                else:
                    with pytest.raises(MapError):
                        buses[n].map(f"r{n}", start)
            case ("unmap", n):
                buses[n].unmap(f"r{n}")
                where.pop(n, None)
            case ("shadow", n, offset, value):
                buses[n].shadow(f"r{n}", offset, value)
                published[n, offset] = value
            case ("read", address):
                got = bench.load(address) if mmio else bench.into(address)
                found = [(n, address - at) for n, at in where.items() if 0 <= address - at < SIZES[n]]
                last = bench.rings.last(0, 1)[0]
                if not found:
                    assert (got, last["device"]) == (b"\xff", -1)
                    continue
                [(n, offset)] = found
                value = published.get((n, offset))
                assert got == bytes((0x77 if value is None else value,))
                assert (last["device"], last["region"]) == ((0, n) if n < 3 else (1, n - 3))
                assert bool(last["flags"] & FLAGS["PYTHON"]) == (value is None)
    assert bench.failures == []
    assert bench.replaced() == 0
    bench.close()


def test_a_region_that_moves_under_four_loops(bench):
    """Each finds the region's published value or nothing, never another's; and replaced maps do not pile up."""
    board = bench((CONTROL, FRAME), (Region("rom", "mmio", 0x1000, THERE),), vcpus=4)
    board.devices[0].bus.shadow("frame", 0, 0x55)
    board.devices[1].bus.shadow("rom", 0, 0x66)
    done = threading.Event()
    seen = [set() for _ in range(4)]

    def look(vcpu):
        while not done.is_set():
            seen[vcpu].add((board.load(HERE, vcpu=vcpu), board.load(THERE, vcpu=vcpu)))

    threads = [threading.Thread(target=look, args=(vcpu,)) for vcpu in range(4)]
    for thread in threads:
        thread.start()
    most = 0
    for number in range(3000):
        board.devices[0].bus.map("frame", HERE if number % 2 else HERE + 0x1000)
        most = max(most, board.replaced())
    board.devices[0].bus.unmap("frame")
    done.set()
    for thread in threads:
        thread.join()
    assert all(found <= {(b"\x55", b"\x66"), (b"\xff", b"\x66")} for found in seen)
    assert most <= 5
    assert [board.load(HERE, vcpu=vcpu) for vcpu in range(4)] == [b"\xff"] * 4


# On KVM

MOVER = """
from runner.devices import Device

HERE, THERE = 0xD0000000, 0xD0001000

class Mover(Device):
    moves = 0

    def start(self):
        self.bus.shadow("frame", 0, 0x12345678, size=4)
        self.bus.map("frame", HERE)
        self.after(0)

    def tick(self):
        self.moves += 1
        self.bus.map("frame", THERE if self.moves % 2 else HERE)
        self.after(20_000)

    def write(self, region, offset, size, value):
        self.output(b"moved enough" if self.moves > 50 else b"few moves: %d" % self.moves)
        self.end("debug-exit", value)
"""
# Each vCPU reads both places 1500 times. Where the value is neither the region's nor nothing's, the status is 1.
LOOK = """
.macro check address
    mov \\address, %eax
    cmp $0x12345678, %eax
    je 1f
    cmp $-1, %eax
    jne wrong
1:
.endm
    mov $1500, %ecx
again:
    check 0xd0000000
    check 0xd0001000
    loop again
    lock incl 0x8000
    cmpl $4, 0x8000
    jne out
    xor %eax, %eax
    mov $0x300, %dx
    out %al, %dx
out:
    hlt
wrong:
    mov $1, %al
    mov $0x300, %dx
    out %al, %dx
    hlt
"""


@pytest.mark.kvm
def test_a_region_that_moves_under_four_running_vcpus(run_guest, assemble):
    device = {"kind": "python", "class": "mover:Mover", "port": [0x300, 1], "regions": {"frame": {"mmio": 0x1000}}}
    result = run_guest(
        assemble(LOOK, 32), boot={"mode": "protected"}, vm={"vcpus": 4, "timeout": "60s"}, devices=[device],
        files={"mover.py": MOVER},
    )  # fmt: skip
    assert (result.kind, result.detail) == ("debug-exit", "the guest chose status 0")
    import tracer
    from tracer.analysis.summary import summarise
    from tracer.decode.regions import Regions
    from tracer.show.events import described

    trace = tracer.load(result.trace)
    rows = trace.table.to_pylist()
    looks = [row for row in rows if row["reason"] == "mmio"]
    assert {(row["device"], row["region"], row["data"]) for row in looks} == {
        ("python0", 1, 0x12345678),
        ("-", 0, 0xFFFFFFFF),
    }
    assert len({row["vcpu"] for row in looks}) == 4
    counted = summarise(trace).tables["address"].to_pylist()
    places = {row["addr"]: row["what"] for row in counted if row["device"] != "-"}
    named = ("python0 port+0x0", "python0 frame+0x0", "python0 frame+0x0")
    assert places == dict(zip((0x300, 0xD0000000, 0xD0001000), named, strict=True))
    shown = {row["what"] for batch in described(trace.batches(), None, None, Regions(trace.metadata))
             for row in batch.to_pylist() if row["device"] != "-" and row["reason"] in ("io", "mmio")}  # fmt: skip
    assert shown == set(named)
