"""The block device as a driver sees it: requests, what they do to the image, and requests that are wrong."""

import ctypes
import os
import struct
import tempfile
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.backends.disk import Disk
from runner.devices.device import Board
from runner.devices.state import StateError
from runner.devices.virtio.blk import SEGMENTS, Blk
from runner.devices.virtio.vhostuser import StoredDisk
from tests.fakes.filelimit import at_most
from tests.fakes.virtiodriver import PCIDriver
from tests.fakes.virtqueuefake import EVENT_IDX, INDIRECT_DESC, VERSION_1, Buffer
from tests.runner.devices.virtio.test_datapath import until
from vmspec.registers import virtio as R

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
SECTORS = 64
UNTOUCHED = 0xEE  # of a status byte
HEADER, STATUS, TABLE, DATA = 0x40000, 0x42000, 0x43000, 0x50000
ALL = VERSION_1 | INDIRECT_DESC | EVENT_IDX | R.BLK_FLUSH | R.BLK_CONFIG_WCE
MODES = ("ro", "rw", "overlay")


def contents(sectors=SECTORS):
    """Bytes that differ from sector to sector, and within one."""
    return b"".join(struct.pack("<HH", at, at ^ 0xFFFF) * 128 for at in range(sectors))


class Image:
    """An image file and the disk on it."""

    def __init__(self, path, mode, block=None, direct=False, size=SECTORS * 512):
        self.path = path
        if not path.exists():
            path.write_bytes(contents(size // 512))
        flags = os.O_RDWR if mode == "rw" else os.O_RDONLY
        self.fd = os.open(path, flags | (os.O_DIRECT if direct else 0))
        self.overlay = None
        if mode == "overlay":
            file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed below
            self.overlay = os.dup(file.fileno())
            file.close()
            os.ftruncate(self.overlay, size)
        self.disk = Disk(self.fd, path.stat().st_size, block, mode == "rw", direct, self.overlay)

    def close(self):
        os.close(self.fd)
        if self.overlay is not None:
            os.close(self.overlay)


@pytest.fixture(params=["mmio", "pci"])
def transport(request):
    return request.param


@pytest.fixture
def image(tmp_path):
    made = []

    def make(mode="rw", name="disk.img", **options):
        made.append(Image(tmp_path / name, mode, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def blk(image, drive):
    """A driver of a disk: ``blk(mode)``; ``driver.image`` is the image."""

    def make(mode="rw", features=ALL, queues=1, writeback=True, serial="", size=128, **options):
        made = image(mode, **options)
        driver = drive(Blk(made.disk, queues, serial, writeback))
        driver.image = made
        return driver.start(queues=queues, size=size, features=features)

    return make


def chain(driver, buffers, queue=0, table=None):
    """Send a chain and wait for its end; return the length in the used ring."""
    sent = driver.queues[queue].add(buffers, table)
    driver.notify(queue)
    done = until(driver.queues[queue].done)
    assert [head for head, _ in done] == [sent]
    return done[0][1]


def request(driver, kind, sector=0, data=b"", room=0, queue=0):
    """A request as Linux lays it out; return the status and what was read."""
    driver.memory.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
    driver.memory.write(STATUS, bytes([UNTOUCHED]))
    driver.memory.write(DATA, data or bytes([UNTOUCHED]) * room)
    size = len(data) or room
    middle = [Buffer(DATA, size, write=bool(room))] if size else []
    chain(driver, [Buffer(HEADER, 16), *middle, Buffer(STATUS, 1, write=True)], queue)
    return driver.memory.read(STATUS, 1)[0], driver.memory.read(DATA, room)


def ranges(*each):
    return b"".join(struct.pack("<QII", sector, n, flags) for sector, n, flags in each)


@pytest.mark.parametrize(
    ("mode", "direct"), [("ro", False), ("ro", True), ("rw", False), ("rw", True), ("overlay", False)]
)
def test_reads_and_writes(blk, mode, direct):
    driver, new = blk(mode, direct=direct), b"\xa5" * 1024
    assert request(driver, IN, 3, room=1024) == (OK, contents()[3 * 512 : 5 * 512])
    assert request(driver, OUT, 62, new)[0] == (IOERR if mode == "ro" else OK)
    wanted = contents()[61 * 512 : 62 * 512] + (contents()[62 * 512 :] if mode == "ro" else new)
    assert request(driver, IN, 61, room=1536) == (OK, wanted)
    changed = contents()[: 62 * 512] + new if mode == "rw" else contents()
    assert driver.image.path.read_bytes() == changed


SPLITS = {
    "a byte each": [1] * 16,
    "in the middle": [7, 9],
    "with the data": [16 + 100],
}


@pytest.mark.parametrize("indirect", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_a_request_may_be_laid_out_in_any_way(blk, split, indirect):
    """2.7.4.1: without assumptions about framing. Header, data and status share buffers, or have several."""
    driver, table = blk(), TABLE if indirect else None
    data = b"\x5a" * 512
    driver.memory.write(HEADER, struct.pack("<IIQ", OUT, 0, 5) + data)
    at, buffers = HEADER, []
    for size in [*SPLITS[split], 16 + 512 - sum(SPLITS[split])]:
        buffers.append(Buffer(at, size))
        at += size
    driver.memory.write(STATUS, bytes([UNTOUCHED]))
    assert chain(driver, [*buffers, Buffer(STATUS, 1, write=True)], table=table) == 1
    assert driver.memory.read(STATUS, 1)[0] == OK
    driver.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 4))
    driver.memory.write(DATA, bytes(1025))
    parts = [Buffer(DATA, 3, write=True), Buffer(DATA + 3, 700, write=True), Buffer(DATA + 703, 322, write=True)]
    assert chain(driver, [Buffer(HEADER, 16), *parts], table=table) == 1025
    assert driver.memory.read(DATA, 1025) == contents()[4 * 512 : 5 * 512] + data + bytes([OK])


@pytest.mark.parametrize(
    ("kind", "sector", "length"),
    [
        (IN, SECTORS, 512),
        (IN, SECTORS - 1, 1024),
        (IN, 1 << 63, 512),
        (IN, (1 << 64) - 1, 1024),
        (IN, 1 << 55, 512),
        (IN, 0, 511),
        (IN, 0, 513),
        (OUT, SECTORS, 512),
        (OUT, SECTORS - 1, 1024),
        (OUT, (1 << 64) - 1, 512),
        (OUT, (1 << 55) + 1, 512),
        (OUT, 0, 1),
    ],
)
@pytest.mark.parametrize("mode", ["rw", "overlay"])
def test_what_the_disk_does_not_have_is_an_error(blk, kind, sector, length, mode):
    driver = blk(mode)
    given = {"data": b"\x77" * length} if kind == OUT else {"room": length}
    status, shown = request(driver, kind, sector, **given)
    assert (status, set(shown)) == (IOERR, set() if kind == OUT else {UNTOUCHED})
    assert driver.image.path.read_bytes() == contents()
    assert request(driver, IN, 0, room=512) == (OK, contents()[:512])


def test_nothing_but_a_header_and_a_status_reads_nothing(blk):
    driver = blk()
    assert [request(driver, kind, at)[0] for kind in (IN, OUT) for at in (0, SECTORS, SECTORS + 1)] == [
        OK, OK, IOERR, OK, OK, IOERR,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 0x80000000, 0x80000001, 0xFFFFFFFF])
def test_an_unknown_request_is_not_supported(blk, kind):
    driver = blk()
    assert request(driver, kind, room=512) == (UNSUPP, bytes([UNTOUCHED]) * 512)
    assert request(driver, kind, data=b"x" * 512)[0] == UNSUPP
    assert driver.image.path.read_bytes() == contents()


MALFORMED = {
    "no status": [Buffer(HEADER, 16)],
    "a status that is to be read": [Buffer(HEADER, 16), Buffer(STATUS, 1)],
    "no header": [Buffer(STATUS, 1, write=True)],
    "a short header": [Buffer(HEADER, 15), Buffer(STATUS, 1, write=True)],
}


@pytest.mark.parametrize("size", [128, 1])  # with 1, the chain ends the queue's turn
@pytest.mark.parametrize("case", MALFORMED)
def test_a_chain_that_is_no_request_stops_the_device_until_a_reset(blk, case, size):
    driver = blk(size=size)
    driver.memory.write(HEADER, bytes(16))
    driver.queues[0].add(MALFORMED[case], table=0xA0000)
    driver.notify(0)
    until(driver.guest.troubled)
    driver.guest.device.tick()
    assert driver.read(R.STATUS) & R.NEEDS_RESET
    assert driver.guest.notices == [
        "the guest's driver must reset it: queue 0: a chain is not a request: "
        "it has no header, or no room for the answer"
    ]
    driver.start(features=ALL)
    assert request(driver, IN, 0, room=512)[0] == OK


@pytest.mark.parametrize("mode", ["rw", "overlay"])
def test_discard_and_write_zeroes(blk, mode):
    driver = blk(mode)
    assert request(driver, WRITE_ZEROES, data=ranges((10, 3, 0)))[0] == OK
    assert request(driver, WRITE_ZEROES, data=ranges((20, 8, 1)))[0] == OK
    assert request(driver, DISCARD, data=ranges((32, 8, 0), (48, 1, 0)))[0] == OK
    status, now = request(driver, IN, 0, room=SECTORS * 512)
    wanted = bytearray(contents())
    wanted[10 * 512 : 13 * 512], wanted[20 * 512 : 28 * 512] = bytes(3 * 512), bytes(8 * 512)
    if mode == "rw":
        wanted[32 * 512 : 40 * 512], wanted[48 * 512 : 49 * 512] = bytes(8 * 512), bytes(512)
    assert (status, now) == (OK, wanted)
    assert driver.image.path.read_bytes() == (wanted if mode == "rw" else contents())


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (DISCARD, ranges((0, SECTORS + 1, 0)), IOERR),
        (DISCARD, ranges((SECTORS, 1, 0)), IOERR),
        (DISCARD, ranges(((1 << 64) - 1, 2, 0)), IOERR),
        (DISCARD, ranges((0, 0xFFFFFFFF, 0)), IOERR),
        (DISCARD, ranges((0, 8, 0), (SECTORS, 1, 0)), IOERR),
        (DISCARD, ranges((0, 8, 1)), UNSUPP),
        (DISCARD, ranges((0, 8, 2)), UNSUPP),
        (DISCARD, ranges(*[(0, 1, 0)] * 17), IOERR),
        (DISCARD, ranges((0, 8, 0))[:-1], IOERR),
        (DISCARD, b"", IOERR),
        (WRITE_ZEROES, ranges((SECTORS - 1, 2, 0)), IOERR),
        (WRITE_ZEROES, ranges((0, 8, 2)), UNSUPP),
        (WRITE_ZEROES, ranges((0, 8, 0x80000001)), UNSUPP),
        (WRITE_ZEROES, ranges((0, 1, 0), (1, 1, 0)), IOERR),
        (WRITE_ZEROES, b"", IOERR),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_ranges_that_are_wrong_change_nothing(blk, kind, data, status, mode):
    driver = blk(mode)
    assert request(driver, kind, data=data)[0] == (IOERR if mode == "ro" else status)
    assert request(driver, IN, 0, room=SECTORS * 512) == (OK, contents())


@pytest.mark.parametrize("features", [ALL, VERSION_1])
def test_a_disk_is_read_only_whether_the_driver_has_accepted_that_or_not(blk, features):
    driver = blk("ro", features=features)
    assert driver.offered() & (R.BLK_RO | R.BLK_DISCARD | R.BLK_WRITE_ZEROES) == R.BLK_RO
    assert request(driver, OUT, 0, b"x" * 512)[0] == IOERR
    assert request(driver, WRITE_ZEROES, data=ranges((0, 8, 0)))[0] == IOERR
    assert request(driver, FLUSH)[0] == OK
    assert driver.image.path.read_bytes() == contents()


@pytest.mark.parametrize("mode", ["rw", "overlay"])
def test_a_disk_that_can_be_written_discards_and_writes_zeroes(blk, mode):
    features = blk(mode).offered() & (R.BLK_RO | R.BLK_DISCARD | R.BLK_WRITE_ZEROES)
    assert features == R.BLK_DISCARD | R.BLK_WRITE_ZEROES


@pytest.mark.parametrize(("cache", "writeback"), [("writeback", 1), ("writethrough", 0)])
def test_what_its_table_of_the_spec_says(image, drive, tmp_path, cache, writeback):
    options = {"format": "raw", "queues": 3, "serial": "disk-7", "cache": cache}
    driver = drive(Blk.make(options, Board(tmp_path, (), backend=lambda: image().disk))).start(features=ALL)
    shown = configuration(driver)
    assert (shown["num_queues"], shown["writeback"]) == (3, writeback)
    assert request(driver, GET_ID, room=20) == (OK, b"disk-7".ljust(20, b"\0"))


def test_an_image_with_a_format_of_its_own_has_another_device(tmp_path, monkeypatch):
    monkeypatch.setattr(StoredDisk, "make", lambda *given: given)
    options, board = {"format": "qcow2"}, Board(tmp_path, ())
    assert Blk.make(options, board) == (options, board)


@pytest.mark.parametrize(("room", "shown"), [(20, b"disk-7" + bytes(14)), (4, b"disk"), (30, b"disk-7" + bytes(14))])
def test_the_serial_number(blk, room, shown):
    status, data = request(blk(serial="disk-7"), GET_ID, room=room)
    assert (status, data) == (OK, shown.ljust(room, bytes([UNTOUCHED])))


def configuration(driver):
    fields = {}
    for offset, (size, name) in R.BLK_CONFIG.items():
        if size in (1, 2, 4, 8):
            halves = [driver.read_configuration(offset + at, min(size, 4)) for at in range(0, size, 4)]
            fields[name] = sum(half << 32 * at for at, half in enumerate(halves))
    return fields


def test_the_configuration(blk):
    shown = configuration(blk(queues=2, block=4096))
    assert (shown["capacity"], shown["seg_max"], shown["blk_size"]) == (SECTORS, SEGMENTS, 4096)
    assert (shown["num_queues"], shown["writeback"], shown["write_zeroes_may_unmap"]) == (2, 1, 1)
    assert (shown["max_discard_seg"], shown["max_write_zeroes_seg"]) == (16, 1)
    assert shown["discard_sector_alignment"] == 8
    zero = ("size_max", "cylinders", "heads", "sectors", "alignment_offset", "opt_io_size", "unused0")
    assert [shown[name] for name in zero] == [0] * len(zero)


@pytest.mark.parametrize(("physical", "exponent"), [(4096, 0), (8192, 1), (65536, 4), (512, 0)])
def test_the_hosts_physical_blocks(blk, physical, exponent):
    driver = blk(block=4096)
    driver.image.disk.physical_block = physical
    shown = configuration(driver)
    assert (shown["physical_block_exp"], shown["min_io_size"]) == (exponent, 1)


def test_what_a_disk_offers_that_is_told_nothing():
    made = Blk(SimpleNamespace(read_only=False, native=lambda serial: serial))
    offered = (R.BLK_SEG_MAX, R.BLK_BLK_SIZE, R.BLK_TOPOLOGY, R.BLK_FLUSH, R.BLK_CONFIG_WCE, R.BLK_MQ)
    assert made.features == sum((*offered, R.BLK_DISCARD, R.BLK_WRITE_ZEROES))
    assert (len(made.queue_sizes), made.native()) == (1, b"")


def test_there_is_a_write_cache_until_features_are_settled(image, drive):
    driver = drive(Blk(image().disk))
    assert configuration(driver)["writeback"] == 1
    driver.start(features=VERSION_1)
    assert configuration(driver)["writeback"] == 0
    driver.write(R.STATUS, 0)
    assert configuration(driver)["writeback"] == 1


def test_as_many_segments_as_the_configuration_says(blk):
    driver = blk(size=256)
    driver.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 0))
    sizes = [128] * (SEGMENTS - 2) + [256, 256]
    assert sum(sizes) % 512 == 0
    parts, at = [], DATA
    for size in sizes:
        parts.append(Buffer(at, size, write=True))
        at += size
    chain(driver, [Buffer(HEADER, 16), *parts, Buffer(STATUS, 1, write=True)])
    assert driver.memory.read(DATA, at - DATA) == contents()[: at - DATA]


@pytest.mark.parametrize(
    ("features", "writeback", "cached"),
    [
        (R.BLK_FLUSH, True, True),
        (R.BLK_FLUSH, False, False),
        (0, True, False),
        (R.BLK_CONFIG_WCE, True, False),
        (R.BLK_FLUSH | R.BLK_CONFIG_WCE, True, True),
        (R.BLK_FLUSH | R.BLK_CONFIG_WCE, False, False),
    ],
)
def test_there_is_a_write_cache_if_the_driver_can_flush_it(blk, features, writeback, cached):
    driver = blk(features=VERSION_1 | features, writeback=writeback)
    assert bool(driver.image.disk.stable) != cached
    assert configuration(driver)["writeback"] == cached


def test_a_driver_switches_the_write_cache(blk):
    driver = blk()
    driver.write_configuration(R.BLK_WRITEBACK - 1, 0, 1)
    assert configuration(driver)["writeback"] == 1
    for value in (0, 1, 0):
        driver.write_configuration(R.BLK_WRITEBACK, value, 1)
        assert (configuration(driver)["writeback"], driver.image.disk.stable) == (value, not value)
        assert request(driver, OUT, 0, b"y" * 512)[0] == OK
    driver.start(features=ALL)
    assert configuration(driver)["writeback"] == 1
    driver.start(features=VERSION_1 | R.BLK_FLUSH)
    driver.write_configuration(R.BLK_WRITEBACK, 0, 1)
    assert (configuration(driver)["writeback"], driver.image.disk.stable) == (1, False)


def told(driver):
    """What the user was told after a request has failed."""
    until(driver.guest.troubled)
    driver.guest.device.tick()
    return driver.guest.notices


def test_an_image_that_becomes_shorter_is_an_error(blk):
    driver = blk()
    os.truncate(driver.image.path, 1000)
    assert request(driver, IN, 0, room=512) == (OK, contents()[:512])
    assert request(driver, IN, 1, room=512)[0] == IOERR
    assert told(driver) == ["read failed on the host: its file has become shorter"]
    assert request(driver, IN, 0, room=512)[0] == OK


@pytest.mark.parametrize("mode", ["rw", "overlay"])
def test_what_cannot_be_written_is_an_error_and_no_more(blk, mode):
    driver = blk(mode)
    with at_most(8192):
        assert request(driver, OUT, 15, b"z" * 512)[0] == OK
        assert request(driver, OUT, 16, b"z" * 512)[0] == IOERR
    assert told(driver) == ["write failed on the host: File too large"]
    assert request(driver, IN, 15, room=1024) == (OK, b"z" * 512 + contents()[16 * 512 : 17 * 512])


def test_a_full_file_system_is_an_error_and_no_more(image, drive):
    driver = drive(Blk(image().disk))
    driver.start(features=ALL)
    os.dup2(os.open("/dev/full", os.O_RDWR), driver.guest.device._device._disk._blk.disk.fd)
    assert request(driver, OUT, 0, b"z" * 512)[0] == IOERR
    assert told(driver) == ["write failed on the host: No space left on device"]
    driver.guest.paths[0].end()


def test_flush_and_zeroes_where_the_file_cannot(blk, image):
    """A host that has no fallocate() for a file: zeroes are written."""
    driver = blk()
    lib_fd = driver.image.disk._blk.disk
    memory_file = os.memfd_create("disk")
    os.write(memory_file, contents())
    os.dup2(memory_file, lib_fd.fd)
    os.close(memory_file)
    assert request(driver, WRITE_ZEROES, data=ranges((4, 4, 0)))[0] == OK  # tmpfs cannot zero a range
    assert (
        request(driver, IN, 3, room=512 * 6)[1] == contents()[3 * 512 : 4 * 512] + bytes(2048) + contents()[4096:4608]
    )


def test_several_queues(blk):
    driver = blk(queues=4)
    for queue in range(4):
        assert request(driver, OUT, queue, bytes([queue]) * 512, queue=queue)[0] == OK
    assert driver.image.path.read_bytes()[:2048] == b"".join(bytes([queue]) * 512 for queue in range(4))


@pytest.mark.parametrize("kind", [IN, OUT, FLUSH])
@pytest.mark.parametrize("mode", ["rw", "overlay"])
def test_many_requests_in_flight_are_each_answered_once(blk, kind, mode):
    """More at once than there are threads, and than are in flight at most; each write is durable."""
    driver = blk(mode, writeback=False, size=256, features=VERSION_1 | INDIRECT_DESC | R.BLK_FLUSH)
    queue, sent = driver.queues[0], []
    for number in range(200):
        at, sector = DATA + number * 640, number % SECTORS
        data = bytes([sector]) * 512 if kind == OUT else bytes(512)
        driver.memory.write(at, struct.pack("<IIQ", kind, 0, sector) + data + bytes([UNTOUCHED]))
        middle = [] if kind == FLUSH else [Buffer(at + 16, 512, write=kind == IN)]
        buffers = [Buffer(at, 16), *middle, Buffer(at + 528, 1, write=True)]
        sent.append(queue.add(buffers, table=0xA0000 + number * 64))
    driver.notify(0)
    done = []
    until(lambda: done.extend(queue.done()) or len(done) == len(sent))
    assert sorted(head for head, _ in done) == sorted(sent)
    for number in range(200):
        at, sector = DATA + number * 640, number % SECTORS
        assert driver.memory.read(at + 528, 1)[0] == OK
        if kind == IN:
            assert driver.memory.read(at + 16, 512) == contents()[sector * 512 :][:512]
    if kind == OUT:
        wanted = b"".join(bytes([sector]) * 512 for sector in range(SECTORS))
        assert request(driver, IN, 0, room=SECTORS * 512) == (OK, wanted)
        assert driver.image.path.read_bytes() == (wanted if mode == "rw" else contents())


def test_a_save_waits_for_what_is_in_flight(blk):
    driver = blk("rw")
    driver.memory.write(HEADER, struct.pack("<IIQ", FLUSH, 0, 0))
    for turn in range(30):
        for _ in range(20):
            driver.queues[0].add([Buffer(HEADER, 16), Buffer(STATUS, 1, write=True)])
        driver.notify(0)
        state = driver.guest.device.save()
        (queue,) = state.common.queues
        assert queue.taken == queue.put
        done = []
        until(lambda done=done: done.extend(driver.queues[0].done()) or len(done) == 20)
        assert driver.queues[0].seen == 20 * (turn + 1)


CACHESTAT = 451  # linux 6.5: range, result, flags


def dirty(descriptor):
    """Pages of a file that are not on its disk yet."""
    span, result = struct.pack("<QQ", 0, 0), ctypes.create_string_buffer(40)
    if ctypes.CDLL(None, use_errno=True).syscall(CACHESTAT, descriptor, span, result, 0):
        pytest.skip("this kernel has no cachestat(2)")
    _, pages, writeback, *_ = struct.unpack("<5Q", result.raw)
    return pages + writeback


@pytest.mark.parametrize("how", ["flush", "writethrough", "no flush", "zeroes"])
def test_what_is_durable_is_on_the_hosts_disk(blk, how):
    features = VERSION_1 | (0 if how == "no flush" else R.BLK_FLUSH)
    driver = blk("rw", features=features, writeback=how == "flush")
    os.fsync(driver.image.fd)
    for sector in range(0, SECTORS, 8):
        if how == "zeroes":
            assert request(driver, WRITE_ZEROES, data=ranges((sector, 3, 0)))[0] == OK
        else:
            assert request(driver, OUT, sector, b"d" * 512)[0] == OK
        if how == "flush":
            assert request(driver, FLUSH)[0] == OK
        assert dirty(driver.image.fd) == 0


def test_a_saved_disk_goes_on_elsewhere(blk, image, drive):
    driver = blk("rw", queues=2)
    driver.write_configuration(R.BLK_WRITEBACK, 0, 1)
    request(driver, OUT, 1, b"a" * 512)
    driver.guest.paths[0].hold()
    driver.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 1))
    head = driver.queues[1].add([Buffer(HEADER, 16), Buffer(DATA, 513, write=True)])
    driver.notify(1)
    state = driver.guest.device.save()
    other = drive(Blk(image("rw").disk, 2))
    other.guest.device.load(state)
    moved = driver.moved(other.guest, other.memory)
    assert until(moved.queues[1].done) == [(head, 513)]
    assert moved.memory.read(DATA, 513) == b"a" * 512 + bytes([OK])
    assert configuration(moved)["writeback"] == 0
    with pytest.raises(StateError, match="the saved disk has 64 sectors, and this one 8"):
        drive(Blk(image(name="small.img", size=4096).disk, 2)).guest.device.load(state)
    driver.guest.paths[0].release()
    other.guest.paths[0].end()


@pytest.mark.parametrize("by", ["driver", "machine"])
@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_nothing_reaches_the_guest_or_the_disk_after_a_reset(blk, by, direct):
    """Another system may be in the guest's memory then. Requests that bypass the host's cache are with threads."""
    driver = blk(direct=direct, size=64)
    driver.memory.write(HEADER, struct.pack("<IIQ", IN, 0, 0))
    driver.memory.write(HEADER + 16, struct.pack("<IIQ", OUT, 0, 32))
    rows = driver.queues[0].used, driver.queues[0].end
    for turn in range(50):
        driver.start(features=ALL, size=64)
        for _ in range(8):
            for header, into in ((HEADER, True), (HEADER + 16, False)):
                middle = Buffer(DATA, 0x2000, write=into)
                driver.queues[0].add([Buffer(header, 16), middle, Buffer(STATUS, 1, write=True)])
        driver.notify(0)
        if by == "driver":
            driver.write(R.STATUS, 0)
        else:
            driver.guest.device.reset()
            if isinstance(driver, PCIDriver):
                driver.enable()
        mine = bytes([turn]) * 0x2000
        driver.memory.write(DATA, mine)
        driver.memory.write(STATUS, mine[:1])
        driver.memory.write(rows[0], bytes(rows[1] - rows[0]))
        with driver.image.path.open("r+b") as file:
            file.seek(32 * 512)
            file.write(mine)
        with driver.guest.paths[0].held():
            assert driver.memory.read(DATA, 0x2000) == mine
            assert driver.memory.read(STATUS, 1) == mine[:1]
            assert not any(driver.memory.read(rows[0], rows[1] - rows[0]))
        assert driver.image.path.read_bytes()[32 * 512 : 48 * 512] == mine


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, SECTORS + 2), st.integers(0, 8)),
        st.tuples(st.just("write"), st.integers(0, SECTORS + 2), st.integers(0, 8)),
        st.tuples(st.just("zero"), st.integers(0, SECTORS + 2), st.integers(0, SECTORS)),
        st.tuples(st.just("discard"), st.integers(0, SECTORS + 2), st.integers(0, SECTORS)),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
        st.tuples(st.just("reset"), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(operations=OPERATIONS, data=st.data())
def test_a_disk_is_as_a_file_that_is_kept_beside(blk, mode, operations, data, tmp_path):
    path = tmp_path / "disk.img"
    path.unlink(missing_ok=True)
    driver = blk(mode)
    try:
        agrees(driver, path, mode, operations, data)
    finally:  # Hypothesis may give an example up while it draws, and the next one uses the same memory
        driver.guest.paths[0].end()


def agrees(driver, path, mode, operations, data):
    """Whether what a driver reads, and the file in the end, is what it has written."""
    model = bytearray(contents())
    unknown = set()  # sectors that were discarded
    for number, (what, sector, n) in enumerate(operations):
        fits = sector + n <= SECTORS
        wanted = OK if fits and (mode != "ro" or what in ("read", "flush", "reset")) else IOERR
        covered = slice(sector * 512, (sector + n) * 512)
        match what:
            case "read":
                status, shown = request(driver, IN, sector, room=n * 512)
                for at in range(n if fits else 0):
                    if sector + at not in unknown:
                        assert shown[at * 512 : at * 512 + 512] == model[covered][at * 512 : at * 512 + 512]
            case "write":
                new = bytes([number + 1]) * (n * 512)
                status, _ = request(driver, OUT, sector, new)
                if status == OK:
                    model[covered] = new
            case "zero":
                status, _ = request(driver, WRITE_ZEROES, data=ranges((sector, n, data.draw(st.integers(0, 1)))))
                if status == OK:
                    model[covered] = bytes(n * 512)
            case "discard":
                status, _ = request(driver, DISCARD, data=ranges((sector, n, 0)))
            case "flush":
                status, _ = request(driver, FLUSH)
            case "reset":
                driver.start(size=128, features=ALL)
                status = OK
        assert status == wanted, (what, sector, n)
        if status == OK and what in ("write", "zero"):
            unknown -= {*range(sector, sector + n)}
        if status == OK and what == "discard":
            unknown |= {*range(sector, sector + n)}
    now = path.read_bytes()
    kept = contents() if mode != "rw" else model
    assert all(now[at * 512 :][:512] == kept[at * 512 :][:512] for at in range(SECTORS) if at not in unknown)
