import ctypes
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.kvm.errors import HostError
from runner.memory import GuestMemory, GuestMemoryError, MemoryRegion, find
from runner.native import _native
from vmspec.plan.calls import Slot
from vmspec.plan.settings import PlannedMemory

PAGE = 4096
# Two slots with a hole between them, as RAM has under 4 GiB.
SLOTS = (Slot(0, 0, 2 * PAGE, 0), Slot(1, 16 * PAGE, PAGE, 2 * PAGE))


BACKINGS = ("anonymous", "memfd")
ffi, lib = _native.ffi, _native.lib


@pytest.fixture(params=BACKINGS)
def memory(request):
    memory = GuestMemory(SLOTS, PlannedMemory(backing=request.param))
    yield memory
    memory.close()


def test_second_slot_follows_the_first_in_the_mapping(memory: GuestMemory) -> None:
    memory.write(16 * PAGE + 5, b"high")
    assert ctypes.string_at(memory.host(0, 2 * PAGE) + 2 * PAGE + 5, 4) == b"high"


def test_host_and_guest_addresses_agree_modulo_a_huge_page() -> None:
    # Several at once: one alone may be aligned by chance.
    memories = [
        GuestMemory((Slot(0, 0, PAGE * size, 0),), PlannedMemory(backing))
        for size in (1, 3, 511, 513, 1025)
        for backing in BACKINGS
    ]
    offsets = [memory.host(0, PAGE) % (2 << 20) for memory in memories]
    for memory in memories:
        memory.close()
    assert offsets == [0] * len(memories)


def test_fresh_memory_is_zero_and_keeps_what_is_written(memory: GuestMemory) -> None:
    memory.write(PAGE - 2, b"abcd")
    assert memory.read(PAGE - 4, 8) == b"\0\0abcd\0\0"


def test_view_writes_through(memory: GuestMemory) -> None:
    with memory.view(100, 3) as view:
        view[:] = b"xyz"
    assert memory.read(100, 3) == b"xyz"


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (2 * PAGE - 1, 2),
        (2 * PAGE, 1),
        (15 * PAGE, 1),
        (17 * PAGE - 1, 2),
        (-1, 1),
        (0, 3 * PAGE),
        (0, -1),
        (1 << 64, 1),
    ],
)
def test_outside_ram(memory: GuestMemory, address: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not guest RAM"):
        memory.view(address, size)


def test_close_waits_for_views(memory: GuestMemory) -> None:
    with memory.view(0, 1), pytest.raises(BufferError):
        memory.close()


def test_a_view_that_was_released_or_forgotten_does_not_keep_the_memory() -> None:
    memory = GuestMemory(SLOTS)
    memory.view(0, 1).release()
    memory.view(0, 1)
    memory.close()


def test_a_memfd_has_the_slots_at_their_offsets() -> None:
    memory = GuestMemory(SLOTS, PlannedMemory(backing="memfd"))
    memory.write(16 * PAGE + 5, b"high")
    low, high = memory.regions
    assert os.pread(high.fd, 4, high.offset + 5) == b"high"
    assert (low.fd, low.offset, os.get_inheritable(low.fd)) == (high.fd, 0, False)
    for size in (0, 4 * PAGE):  # by another process that has it
        with pytest.raises(PermissionError):
            os.ftruncate(high.fd, size)
    memory.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(high.fd)


# Files beside RAM


@pytest.fixture
def rom(tmp_path):
    (tmp_path / "rom").write_bytes(b"firmware".ljust(PAGE, b"\xff"))
    fd = os.open(tmp_path / "rom", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_read_only_file_is_read_and_not_written(memory: GuestMemory, rom: int) -> None:
    region = memory.add(0xFFFFF000, PAGE, rom, read_only=True)
    assert (memory.read(0xFFFFF000, 8), region.read_only) == (b"firmware", True)
    with pytest.raises(ValueError, match="not guest RAM that can be written"):
        memory.write(0xFFFFF000, b"x")
    assert (at(memory, 0xFFFFF000, 8, write=False) != ffi.NULL, at(memory, 0xFFFFF000, 8)) == (True, ffi.NULL)


def test_what_the_guest_writes_to_a_file_stays_in_its_memory(memory: GuestMemory, rom: int) -> None:
    memory.add(32 * PAGE, PAGE, rom, read_only=False)
    memory.write(32 * PAGE, b"F")
    assert (memory.read(32 * PAGE, 8), os.pread(rom, 8, 0)) == (b"Firmware", b"firmware")


def test_zeros_that_can_be_written_follow_a_file_that_is_shorter(memory: GuestMemory, rom: int) -> None:
    memory.add(32 * PAGE, 3 * PAGE, rom, read_only=False)
    assert memory.read(33 * PAGE - 1, PAGE) == b"\xff" + bytes(PAGE - 1)
    memory.write(35 * PAGE - 1, b"x")
    assert (memory.read(35 * PAGE - 1, 1), os.fstat(rom).st_size) == (b"x", PAGE)


@pytest.mark.parametrize("start", [0, PAGE, 16 * PAGE])
def test_a_file_over_other_memory_is_rejected(memory: GuestMemory, rom: int, start: int) -> None:
    with pytest.raises(ValueError, match="is the guest's memory already"):
        memory.add(start, PAGE, rom, read_only=True)


# Python and C translate alike


def at(memory: GuestMemory, address: int, size: int, write: bool = True):
    return lib.memory_at(memory.table, address, size, write)


ENDS = (0, 1, PAGE - 1, PAGE, PAGE + 1, (1 << 64) - 1, (1 << 63), (1 << 64) - PAGE)
REGIONS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8), st.booleans()), max_size=8) | st.just(
    [((1 << 52) - 8, 8, False)]
)


@given(REGIONS, st.data())
def test_python_and_c_find_the_same(spans, data) -> None:
    regions, end = [], 0
    for number, (start, pages, read_only) in enumerate(sorted(spans)):
        if start >= end:
            end = start + pages
            host = (number + 1) << 20
            regions.append(MemoryRegion(start * PAGE, pages * PAGE, host, read_only=read_only))
    table = ffi.new("struct memory *")
    table.n = len(regions)
    for to, region in zip(table.regions[0 : len(regions)], regions, strict=True):
        to.start, to.size, to.read_only = region.start, region.size, region.read_only
        to.host = ffi.cast("uint8_t *", region.host)
    edges = [edge for region in regions for edge in (region.start, region.start + region.size)] or [0]
    near = st.tuples(st.sampled_from(edges), st.integers(-2, 2)).map(lambda pair: sum(pair) % (1 << 64))
    for _ in range(10):
        address = data.draw(near | st.sampled_from(ENDS) | st.integers(0, 70 * PAGE))
        size = data.draw(st.sampled_from(ENDS) | st.integers(0, 9 * PAGE))
        write = data.draw(st.booleans())
        found = find(regions, address, size, write)
        got = lib.memory_at(table, address, size, write)
        assert int(ffi.cast("uintptr_t", got)) == (0 if found is None else found.host + address - found.start)
        if found is not None:
            covered = range(found.start, found.start + found.size)
            assert address in covered
            assert address + size <= covered.stop


# What a spec asks of the host


@pytest.mark.kvm
@pytest.mark.parametrize(
    "how",
    [
        {"backing": "memfd"},
        {"pages": "small"},
        {"backing": "memfd", "pages": "small", "prefault": True},
        {"prefault": True},
        {"locked": True},
        {"backing": "memfd", "locked": True},
    ],
)
def test_a_guest_runs_in_any_memory(run_guest, how) -> None:
    result = run_guest("a0 00 80 e6 e9 c6 06 00 80 41 a0 00 80 e6 e9 f4", devices=[{"kind": "debug-port"}], memory=how)
    assert (result.kind, result.console) == ("halt", b"\0A")


def resident(memory: GuestMemory) -> int:
    """KiB of RAM that are in this process."""
    start = memory.host(0, 1)
    inside = False
    with open("/proc/self/smaps") as maps:  # noqa: PTH123
        for line in maps:
            if "-" in line.split(" ")[0]:
                inside = int(line.partition("-")[0], 16) == start
            elif inside and line.startswith("Rss:"):
                return int(line.split()[1])
    raise AssertionError("the memory is not mapped")


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize(("how", "kib"), [({}, 0), ({"prefault": True}, 4096), ({"locked": True}, 4096)])
def test_memory_is_there_before_the_guest_where_it_was_asked_for(backing, how, kib) -> None:
    memory = GuestMemory((Slot(0, 0, 4 << 20, 0),), PlannedMemory(backing, "small", **how))
    memory.ready()
    assert resident(memory) == kib
    memory.close()


def test_a_host_without_huge_pages_of_that_number_says_so() -> None:
    slots = (Slot(0, 0, 1 << 40, 0),)
    for backing in BACKINGS:
        with pytest.raises(GuestMemoryError, match="1TiB of guest RAM needs 524288 huge pages of 2MiB"):
            GuestMemory(slots, PlannedMemory(backing, "hugetlbfs"))


@pytest.mark.kvm
def test_that_is_an_error_of_the_host(run_guest) -> None:
    with pytest.raises(HostError, match=r"leave out memory\.pages"):
        run_guest("f4", vm={"memory": "1TiB"}, memory={"pages": "hugetlbfs"})


def test_memory_that_may_not_be_locked_says_so(monkeypatch) -> None:
    monkeypatch.setattr("runner.memory.lib", Lacking())
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 16, 1 << 16))
    memory = GuestMemory(SLOTS, PlannedMemory(locked=True))
    with pytest.raises(GuestMemoryError, match=r"\(memory.locked\): Cannot allocate memory; the limit is 64KiB, raise"):
        memory.ready()
    memory.close()


class Lacking:
    """The C side on a host that locks no memory."""

    def __getattr__(self, name):
        return (lambda *_: 12) if name == "memory_lock" else getattr(lib, name)


@pytest.mark.parametrize("backing", ["anonymous", "memfd"])
def test_pages_of_a_file_are_zero_once_they_were_returned(backing) -> None:
    memory = GuestMemory((Slot(0, 0, 1 << 20, 0),), PlannedMemory(backing))
    descriptor = os.memfd_create("pages")
    os.write(descriptor, b"\x5a" * 0x4000)
    memory.fill(0x10000, 0x3000, descriptor, 0x1000)
    memory.write(0x11000, b"guest")
    assert memory.read(0xFFFF, 2) == b"\0\x5a"
    memory.discard(0x11000, 0x1000)
    assert memory.read(0x10FFF, 0x1002) == b"\x5a" + bytes(0x1000) + b"\x5a"
    assert os.pread(descriptor, 0x4000, 0) == b"\x5a" * 0x4000
    with pytest.raises(ValueError, match="not guest RAM"):
        memory.fill((1 << 20) - 0x1000, 0x2000, descriptor, 0)
    memory.close()
    os.close(descriptor)


def test_a_guest_that_returns_many_pieces_of_a_file_leaves_mappings_to_the_process(monkeypatch) -> None:
    """Also those that are only cleared are zero, and no byte beside them is."""
    monkeypatch.setattr("runner.memory.PIECES", 100)
    memory = GuestMemory((Slot(0, 0, 4 << 20, 0),))
    descriptor = os.memfd_create("pages")
    os.truncate(descriptor, 4 << 20)
    os.pwrite(descriptor, b"\x5a" * (4 << 20), 0)
    memory.fill(0, 4 << 20, descriptor, 0)
    before = mappings()
    for page in range(0, 1024, 2):
        memory.discard(0x1000 * page + 0x800, 0x1800)
    assert mappings() - before <= 2 * 100
    assert memory.read(0, 4 << 20) == (b"\x5a" * 0x1000 + bytes(0x1000)) * 512
    memory.close()
    os.close(descriptor)


def mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())
