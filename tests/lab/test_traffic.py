"""Much traffic over Debian's own drivers of networks and sockets, in the lab, by both transports: bytes and their
checksums, counts, queues, and drivers that are bound anew meanwhile."""

import gzip
import re
import subprocess
import sys
from functools import cache, cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import tracer
from tests.fakes import pcapngfile
from tests.guests import debian, initrd
from tests.lab.labruns import HERE, ROOT, TRANSPORTS, stayed, userspace
from tests.lab.test_boot import EXPECTED, SUSPICIOUS
from tests.lab.test_virtio import UNSIGNED
from tracer.analysis.frames import counted
from tracer.analysis.where import compile
from vmspec.document import Document
from vmspec.registers import virtio as R
from vmspec.registers import virtiopci as V

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.stay("traffic")]

DRIVERS = ("virtio_mmio", "virtio_pci", "virtio_net", "af_packet", "vmw_vsock_virtio_transport")
RUNS = {"few": (16 << 20, 0), "resets": (1_000_000, 100), "much": (1 << 30, 0)}  # bytes each way, resets of a driver
SMALL = 1_000_000  # bytes of other calls
# Debian's own, which needs libraries: where its files are in the guest, and in which packages.
ETHTOOL = {
    "bin/ethtool": ("ethtool", "sbin/ethtool"),
    "lib64/ld-linux-x86-64.so.2": ("libc6", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    "lib/libc.so.6": ("libc6", "lib/x86_64-linux-gnu/libc.so.6"),
    "lib/libm.so.6": ("libc6", "lib/x86_64-linux-gnu/libm.so.6"),
    "lib/libmnl.so.0": ("libmnl0", "usr/lib/x86_64-linux-gnu/libmnl.so.0"),
}
NO_PAGE = ("wget: server returned error: HTTP/1.0 404", "the guest waits for the host with it")
CARDS = {"eth0": "virtio-net0", "eth1": "virtio-net1"}


class Run:
    """What one run left, of so many bytes and resets."""

    def __init__(self, directory, transport, kind):
        self.directory, self.transport = directory / f"{transport}-{kind}", transport
        self.bytes, self.resets = RUNS[kind]
        self.console = (self.directory / "console").read_text(errors="replace").replace("\r", "")
        self.userspace = userspace((self.directory / "console").read_bytes())
        self.called = (self.directory / "called").read_text()
        self.log = (self.directory / "log").read_text()

    def said(self, name):
        """The guest's lines that begin with a name."""
        return re.findall(rf"^{name}: (.*)$", self.userspace, re.MULTILINE)

    def moved(self, text):
        """What was moved each way, by what, with the checksums of both sides."""
        return re.findall(r"traffic: (\w+) (send|receive) (\d+) (\w+) (\w+)$", text, re.MULTILINE)

    @cached_property
    def trace(self):
        return tracer.load(self.directory / "trace.arrow")

    def requests(self, device, *kinds):
        """The requests of a device, of these kinds: when they were done, their queues and lengths."""
        table = self.trace.tables["requests"].table.select(["device", "kind", "queue", "length", "t_done"])
        wanted = pc.and_(pc.equal(table["device"], device), pc.is_in(table["kind"].cast("string"), pa.array(kinds)))
        return table.filter(wanted)

    def frames(self, device):
        """The requests that are the first of a frame: of those sent and of those received."""
        received = self.requests(device, "receive")
        return self.requests(device, "transmit"), received.filter(pc.greater(received["length"], 0))

    def statuses(self, device):
        """When the driver wrote which device status."""
        mmio = self.transport == "mmio"
        status, mask, size = (R.STATUS, 0xFFF, 4) if mmio else (V.DEVICE_STATUS, 0x3FFF, 1)
        where = f"device == {device!r} and direction == 'write' and size == {size} and addr & {mask} == {status}"
        where = compile(where, self.trace)
        rows = [row for batch in self.trace.batches() for row in where.apply(batch).to_pylist()]
        return [(row["t_exit"], row["data"]) for row in rows]

    def first_life(self, device):
        """The frames of the driver as it was bound first: lengths of those sent and those received."""
        writes = self.statuses(device)
        ready = next(at for at, (_, status) in enumerate(writes) if status & R.DRIVER_OK)
        end = next(time for time, status in writes[ready:] if status == 0)
        return [rows.filter(pc.less(rows["t_done"], end))["length"].to_pylist() for rows in self.frames(device)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A function that returns the run of a transport and kind; it is made, in a stay of its own, when a test first asks
    for it."""
    directory = tmp_path_factory.mktemp("traffic")
    prepare(directory)

    @cache
    def made(transport, kind):
        name = f"{transport}-{kind}"
        stay(directory, {name: arguments(name, transport, kind)}, "3h")
        return Run(directory, transport, kind)

    return made


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """traffic.c's program for this machine."""
    path = tmp_path_factory.mktemp("program") / "traffic"
    subprocess.run(["cc", "-O2", "-o", path, HERE / "traffic.c"], check=True)
    return path


@pytest.fixture(params=TRANSPORTS)
def few(runs, request):
    return runs(request.param, "few")


@pytest.fixture(params=[(transport, kind) for transport in TRANSPORTS for kind in RUNS], ids="-".join)
def run(runs, request):
    return runs(*request.param)


def prepare(directory):
    """Make the program and the initrd."""
    program = directory / "traffic"
    subprocess.run(["cc", "-static", "-O2", "-o", program, HERE / "traffic.c"], check=True)
    kernel = debian.kernel("6.1-cloud")
    modules = debian.modules(kernel, DRIVERS)
    entries = initrd.busybox((HERE / "traffic-init").read_bytes())
    entries["bin/traffic"] = initrd.executable(program.read_bytes())
    entries["udhcpc-script"] = initrd.executable((ROOT / "examples/network/udhcpc-script").read_bytes())
    entries["etc"] = initrd.directory()
    entries["modules/list"] = initrd.regular(" ".join(modules).encode())
    for name, image in modules.items():
        entries[f"modules/{name}.ko"] = initrd.regular(debian.unsigned(image))
    for name, (package, file) in ETHTOOL.items():
        entries[name] = initrd.executable((debian.files(package) / file).read_bytes())
    (directory / "initrd.img").write_bytes(gzip.compress(initrd.archive(entries), 1, mtime=0))


def stay(directory, jobs, timeout):
    """Run guests in the lab: for each name the arguments of vmrun."""
    sets = given(directory)
    Document.open(HERE / "traffic.toml", sets).plan()  # unpacks the kernel into the cache, where the lab finds it
    for name, arguments in jobs.items():
        (directory / f"{name}.args").write_text("\n".join(arguments))
    lab = ["--timeout", timeout, "--share", directory, "--"]
    program = [sys.executable, HERE / "inside" / "traffic.py", directory, directory / "traffic", debian.busybox()]
    command = [*program, *jobs, "--"]
    command += [HERE / "traffic.toml", *(word for each in sets for word in ("--set", each))]
    stayed(*lab, *command)


def given(directory):
    """The images of all runs."""
    return f"boot.kernel={debian.kernel('6.1-cloud').bzimage}", f"boot.initrd={directory / 'initrd.img'}"


def arguments(name, transport, kind):
    """Of one run. Captures are kept where there are not too many frames."""
    size, resets = RUNS[kind]
    line = f"console=ttyS0 panic=-1 reboot=k ipv6.disable=1 vmrun.bytes={size} vmrun.resets={resets}"
    sets = [f"vm.transport={transport}", f"boot.cmdline={line}"]
    if kind == "few":
        sets += [f"device[{at}].capture=/run/{name}/eth{at - 4}.pcapng" for at in (4, 5)]
    return [word for each in sets for word in ("--set", each)]


def test_the_guest_ends_as_its_spec_expects(run):
    assert (run.directory / "status").read_text() == "0", run.log


def test_neither_linux_nor_a_driver_complains(run):
    after = run.console.partition("vmrun: userspace")[2]
    lines = [line for line in after.splitlines() if SUSPICIOUS.search(line)]
    assert [line for line in lines if not any(known in line for known, _ in (*EXPECTED, UNSIGNED, NO_PAGE))] == []
    assert "must reset it" not in run.log


def test_all_bytes_arrive_each_way(run, program):
    """From the guest to the host and back, by user mode, by the tap, by the socket; again after the drivers were bound
    anew. From the host to the guest by a forwarded port, by the tap, by the socket's convention."""
    sums = {
        size: subprocess.check_output([program, "sum", str(size)], text=True).strip() for size in (run.bytes, SMALL)
    }
    ways = ("send", "receive")
    for name, address in (("eth0", "tcp"), ("eth1", "tcp"), ("vsock", "vsock")):
        found = [line for text in run.said(name) for line in run.moved(text)]
        wanted = [(address, way, str(size), sums[size], sums[size]) for size in (run.bytes, SMALL) for way in ways]
        assert found == wanted
    addresses = ("tcp", "tcp", "connect")
    assert run.moved(run.called) == [
        (address, way, str(SMALL), sums[SMALL], sums[SMALL]) for address in addresses for way in ways
    ]


def test_ping_names_and_a_page(few):
    assert few.userspace.count("3 packets transmitted, 3 packets received, 0% packet loss") == 2
    assert "3 packets transmitted, 3 packets received, 0% packet loss" in few.called  # the host's
    assert few.said("dns") == ["10.1.2.3"]
    assert few.said("page") == ["this host's page"]


def test_the_address_is_the_plans_in_each_run_and_however_often_the_driver_is_bound(run):
    plan = Document.open(HERE / "traffic.toml", given(run.directory.parent)).plan()
    planned = {device.name: device.options["mac"] for device in plan.devices if device.kind == "virtio-net"}
    for card, device in CARDS.items():
        assert [line for line in run.said(card) if "mac" in line] == [f"mac {planned[device]}"] * 2


def test_several_queues_as_ethtool_has_them(few):
    assert [line for line in few.said("eth1") if re.match("uses|queues", line)] == [
        "uses 1", "uses 4", "queues 4", "queues 4",
    ]  # fmt: skip
    used = {*few.requests("virtio-net1", "transmit")["queue"].to_pylist()}
    assert len(used) > 1
    assert used <= {1, 3, 5, 7}


@pytest.mark.parametrize("card", CARDS)
def test_the_requests_are_what_the_guest_counts_and_what_is_captured(few, card):
    """docs/network.md has the rule."""
    lines = dict(line.split() for line in few.said(card) if re.match("[rt]x_", line))
    counts = {name: int(count) for name, count in lines.items()}
    sent, received = few.first_life(CARDS[card])
    assert counts == {
        "rx_packets": len(received), "rx_bytes": sum(received), "tx_packets": len(sent), "tx_bytes": sum(sent),
    }  # fmt: skip
    captured = pcapngfile.read(few.directory / f"{card}.pcapng").packets
    for way, lengths in (("out", sent), ("in", received)):
        found = [len(packet.frame) for packet in captured if packet.way == way][: len(lengths)]
        assert sorted(found) == sorted(lengths)  # frames of several queues are put back in another order


def test_every_frame_is_a_request_or_was_dropped_for_a_reason(run):
    for device in CARDS.values():
        counts = counted(run.trace)[device]
        sent, received = (rows.num_rows for rows in run.frames(device))
        assert sent == counts["sent"] + counts["malformed"] + counts["refused"]
        assert 0 <= counts["received"] - counts["unfit"] - received <= counts["forgotten"]
        assert counts["malformed"] == counts["overlong"] == 0


def test_drivers_were_bound_anew_so_often(run):
    for device in (*CARDS.values(), "virtio-vsock0"):
        assert sum(status == 0 for _, status in run.statuses(device)) > run.resets
