"""The guest's memory: guest-physical ranges, and the host memory behind each in this process.

:func:`find` and ``memory_at`` in ``runner/native/memory.c`` are the only translation of guest-physical ranges, in
Python and in C, over the same table. Nothing else makes a pointer or a view from an address that a guest may choose.
"""

import errno
import fcntl
import mmap
import os
import resource
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runner.devices.services import Shared
from runner.native import _native
from vmspec.plan.calls import Slot
from vmspec.plan.settings import PlannedMemory
from vmspec.schema.units import format_size

ffi = _native.ffi
lib = _native.lib

MAP_NORESERVE = 0x4000  # Linux x86; the mmap module has no name for these
MAP_HUGETLB = 0x40000
# A back end that has the memory must not take it away: who touches it then, dies.
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
HUGE = 2 << 20  # bytes of a huge page of x86-64
READABLE, WRITABLE = mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
# Pieces of a file that make way for empty memory. Each makes two mappings more, and a process has 65,530 (Linux,
# Documentation/admin-guide/sysctl/vm.rst, max_map_count).
PIECES = 8192
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")


class GuestMemoryError(Exception):
    """The host cannot provide the guest's memory; the message says what is missing and what to do."""


class MemoryRegion(NamedTuple):
    """A guest-physical range; ``host`` is where it begins in this process. It maps ``fd`` from ``offset`` on; -1:
    anonymous memory. The guest's writes to a read-only region are exits."""

    start: int
    size: int
    host: int
    fd: int = -1
    offset: int = 0
    read_only: bool = False


def find(regions: Sequence[MemoryRegion], address: int, size: int, write: bool) -> MemoryRegion | None:
    """The region that contains all of ``[address, address + size)``, and is writable if it must be; else None."""
    for region in regions:
        if region.start <= address < region.start + region.size:
            whole = 0 <= size <= region.start + region.size - address
            return region if whole and not (write and region.read_only) else None
    return None


class GuestMemory:
    """RAM at the plan's slots, and the files that :meth:`add` maps beside it.

    Every method raises ``ValueError`` naming a range that is not the guest's memory. GuestMemoryError: the host cannot
    provide such memory.

    RAM begins at a multiple of 2 MiB in this process, as guest-physical memory does. KVM maps a huge page into the
    guest only if host and guest addresses agree modulo its size (Linux, Documentation/virt/kvm/api.rst, 4.35); hosts
    before Linux 6.7 do not align anonymous mappings.
    """

    def __init__(self, slots: tuple[Slot, ...], how: PlannedMemory | None = None) -> None:
        self.how = how or PlannedMemory()
        self.regions: list[MemoryRegion] = []
        self.table = ffi.new("struct memory *")  # the table that C reads
        self._size = sum(slot.size for slot in slots)
        self._mapped: list[tuple[_native.Pointer[Any], int]] = []
        self._descriptors: list[int] = []
        self._views: list[weakref.ref[memoryview]] = []
        self._pieces = 0
        self._behind = lib.MEMORY_SHARED if self.how.backing == "memfd" else lib.MEMORY_ANONYMOUS
        try:
            fd, self._ram = self._map_ram()
            host = int(ffi.cast("uintptr_t", self._ram))
            self._put([MemoryRegion(s.start, s.size, host + s.offset, fd, s.offset) for s in slots])
        except BaseException:
            self.close()
            raise

    def _map_ram(self) -> tuple[int, "_native.Pointer[Any]"]:
        """RAM is committed as the guest touches it. Huge pages of a pool are committed now."""
        pooled = self.how.pages == "hugetlbfs"
        fd, flags = -1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (MAP_HUGETLB if pooled else MAP_NORESERVE)
        try:
            if self.how.backing == "memfd":
                flags = mmap.MAP_SHARED | (0 if pooled else MAP_NORESERVE)
                kind = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | (os.MFD_HUGETLB if pooled else 0)
                fd = os.memfd_create("vmrun-ram", kind)
                self._descriptors.append(fd)
                os.ftruncate(fd, self._size)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            return fd, self._map(self._size, fd, WRITABLE, flags)
        except OSError as error:
            size = format_size(self._size)
            if pooled:
                needed = -(-self._size // HUGE)
                raise GuestMemoryError(
                    f"{size} of guest RAM needs {needed} huge pages of 2MiB, and the host has {_free()} "
                    f"({error.strerror}): raise vm.nr_hugepages with sysctl, or leave out memory.pages"
                ) from error
            raise GuestMemoryError(
                f"the host cannot map {size} of guest RAM: {error.strerror}; lower vm.memory, or raise ulimit -v"
            ) from error

    def _map(self, size: int, fd: int, protection: int, flags: int) -> "_native.Pointer[Any]":
        start = lib.memory_map(size, HUGE, fd, protection, flags)
        if start == ffi.NULL:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        self._mapped.append((start, size))
        return start

    def add(self, start: int, size: int, fd: int, read_only: bool) -> MemoryRegion:
        """Map the first ``size`` bytes of a file at a guest-physical address, in whole pages, and zeros where it has
        fewer; the guest's writes stay in this process. Raises ValueError if the range is taken, OSError if it cannot be
        mapped. Call it before KVM is told of the memory."""
        if any(start < other.start + other.size and other.start < start + size for other in self.regions):
            raise ValueError(f"{start:#x}..{start + size:#x} is the guest's memory already")
        protection = READABLE if read_only else WRITABLE
        host = self._map(size, -1, protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        if error := lib.memory_map_file(host, min(size, os.fstat(fd).st_size), fd, 0, protection):
            raise OSError(error, os.strerror(error))
        region = MemoryRegion(start, size, int(ffi.cast("uintptr_t", host)), fd, 0, read_only)
        self._put([*self.regions, region])
        return region

    def fill(self, address: int, size: int, fd: int, offset: int) -> None:
        """Have a range read as a part of a file, in whole pages; what is written there stays in this process. A page is
        read when it is first used, except where the part is smaller than a huge page, and where memory has a file or
        huge pages of its own. Raises ValueError if it is not guest RAM, OSError."""
        region = self._find(address, size, True)
        if size >= HUGE and region.fd not in self._descriptors and self.how.pages != "hugetlbfs":
            at = ffi.cast("uint8_t *", region.host + address - region.start)
            if error := lib.memory_map_file(at, size, fd, offset, WRITABLE):
                raise OSError(error, os.strerror(error))
            self._behind = lib.MEMORY_FILLED
            return
        with self.view(address, size) as view:
            done = 0
            while done < size:
                with view[done:] as rest:
                    read = os.preadv(fd, [rest], offset + done)
                if not read:
                    raise OSError(errno.ENODATA, "the file has become shorter")
                done += read

    def _put(self, regions: list[MemoryRegion]) -> None:
        self.regions = sorted(regions)
        if len(regions) > lib.MEMORY_REGIONS:
            raise ValueError(f"the guest's memory has more than {lib.MEMORY_REGIONS} regions")
        for to, region in zip(self.table.regions[0 : len(regions)], self.regions, strict=True):
            to.start, to.size, to.read_only = region.start, region.size, region.read_only
            to.host = ffi.cast("uint8_t *", region.host)
        self.table.n = len(regions)

    def ready(self) -> None:
        """Prepare the pages as the spec says, once the images are loaded. Raises GuestMemoryError.

        Huge pages are enabled only now: making one ready takes longer than filling it, most of all on a host that is
        itself a guest. Memory touched from now on comes in pages of 2 MiB, with fewer faults while the guest runs.
        """
        if self.how.pages != "hugetlbfs":  # EINVAL: a host without transparent huge pages
            lib.memory_advise(self._ram, self._size, self.how.pages == "transparent")
        size = format_size(self._size)
        if self.how.prefault and (error := lib.memory_populate(self._ram, self._size)):
            raise GuestMemoryError(f"the host has no {size} of RAM to spare (memory.prefault): {os.strerror(error)}")
        if self.how.locked and (error := lib.memory_lock(self._ram, self._size)):
            limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
            raise GuestMemoryError(
                f"the host cannot lock {size} of guest RAM (memory.locked): {os.strerror(error)}; "
                f"the limit is {'none' if limit == resource.RLIM_INFINITY else format_size(limit)}, raise ulimit -l"
            )

    def host(self, address: int, size: int) -> int:
        """Where a guest-physical range lies in this process."""
        region = self._find(address, size, False)
        return region.host + address - region.start

    def view(self, address: int, size: int, write: bool = True) -> memoryview:
        """A view of a range in one region. It must be released before :meth:`close`."""
        region = self._find(address, size, write)
        at = ffi.cast("uint8_t *", region.host + address - region.start)
        view = memoryview(ffi.buffer(at, size))
        self._views = [each for each in self._views if _is_held(each)]
        view = view if write else view.toreadonly()
        self._views.append(weakref.ref(view))
        return view

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes into guest memory."""
        with self.view(address, len(data)) as view:
            view[:] = data
        lib.dma_wrote(ffi.cast("uint8_t *", self.host(address, len(data))), len(data))

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of guest memory."""
        with self.view(address, size, write=False) as view:
            data = bytes(view)
        lib.dma_read(ffi.cast("uint8_t *", self.host(address, size)), size)
        return data

    def discard(self, address: int, size: int) -> None:
        """Return whole pages of RAM to the host. The guest finds zeros there from then on."""
        region = self._find(address, size, True)
        self.discard_host(ffi.cast("uint8_t *", region.host + address - region.start), size)

    def discard_host(self, start: "_native.Pointer[Any]", size: int) -> None:
        """The same where the range lies in this process. Locked pages and those of a pool stay (madvise(2)), and what
        a guest returns in more than :data:`PIECES` pieces that a file is behind."""
        behind = self._behind
        if behind == lib.MEMORY_FILLED:
            self._pieces += 1
            behind = behind if self._pieces <= PIECES else lib.MEMORY_CROWDED
        lib.memory_discard(start, size, behind)
        lib.dma_wrote(start, size)  # zeros

    def shared(self) -> list[Shared]:
        """RAM that other processes can map."""
        return [
            Shared(region.start, region.size, region.host, region.fd, region.offset)
            for region in self.regions
            if region.fd in self._descriptors
        ]

    def _find(self, address: int, size: int, write: bool) -> MemoryRegion:
        region = find(self.regions, address, size, write)
        if region is None:
            what = "not guest RAM that can be written" if write else "not guest RAM"
            raise ValueError(f"{address:#x}..{address + size:#x} is {what}")
        return region

    def close(self) -> None:
        """Unmap the memory. Views must be released before: BufferError."""
        if any(map(_is_held, self._views)):
            raise BufferError("a view of the guest's memory is still held")
        while self._mapped:
            lib.memory_unmap(*self._mapped.pop())
        while self._descriptors:
            os.close(self._descriptors.pop())


def _is_held(view: "weakref.ref[memoryview]") -> bool:
    held = view()
    if held is None:
        return False
    try:
        return held.nbytes >= 0
    except ValueError:  # released
        return False


def _free() -> str:
    try:
        return f"{int(POOL.read_text())} free"
    except (OSError, ValueError):
        return "no pool"
