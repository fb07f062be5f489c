"""Tap devices of the kernel's, in a network namespace of the test's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.flatdriver import HLT
from tests.runner.backends.test_user import arp
from tests.runner.replay import devicesguests as guests

HERE = Path(__file__).parents[3]


def _why_not():
    """Why this host gives no namespace with a tap, None: it does."""
    code = "import os; os.close(os.open('/dev/net/tun', os.O_RDWR))"
    done = subprocess.run(["unshare", "-rn", sys.executable, "-c", code], check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


WHY_NOT = _why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"no network namespace with taps: {WHY_NOT}")

HEAD = """
import os, socket, subprocess
from runner.devices.device import DeviceError
from runner.backends.network import Tap
from vmspec.registers import virtio as R

def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

def taps():
    return sorted(name for _, name in socket.if_nameindex() if name != "lo")

def refused(*arguments):
    try:
        Tap(*arguments)
    except DeviceError as error:
        return str(error)
"""


@pytest.fixture
def inside():
    """Runs code in a namespace of its own, as its root, and gives what it prints."""

    def run(code, *wrapped):
        command = ["unshare", "-rn", *wrapped, sys.executable, "-c", HEAD + code]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=HERE)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_a_tap_that_there_is_not_is_made_brought_up_and_gone_at_the_end(inside):
    shown = inside("""
tap = Tap("vm%d", 1, 1400)
print(*taps(), *(word for word in ip("link", "show", "vm0").split() if word == "1400" or word[0] == "<"))
tap.close()
print(*taps())
""")
    assert shown == ["vm0 <BROADCAST,MULTICAST,UP,LOWER_UP> 1400", ""]


def test_it_is_gone_too_if_vmrun_is_killed(inside):
    shown = inside("""
import signal, time
if not (child := os.fork()):
    Tap("tap0", 2, None)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
print(*taps())
""")
    assert shown == [""]


def test_one_that_is_there_stays_as_it_was(inside):
    shown = inside("""
ip("tuntap", "add", "tap0", "mode", "tap")
ip("address", "add", "10.0.0.1/24", "dev", "tap0")
before = ip("address", "show", "tap0")
Tap("tap0", 1, None).close()
print(ip("address", "show", "tap0") == before, *taps())
""")
    assert shown == ["True tap0"]


def test_what_the_messages_say(inside):
    shown = inside("""
ip("tuntap", "add", "tap0", "mode", "tap")
ip("tuntap", "add", "tun0", "mode", "tun")
ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
held = Tap("tap0", 1, None)
print(refused("tap0", 1, None))
print(refused("tun0", 1, None))
print(refused("veth0", 1, None))
held.close()
print(refused("tap0", 4, None))
""")
    name = "tap: cannot use the tap "
    assert shown == [
        name + "tap0: another program uses it: give each device a tap of its own",
        name + "tun0: it is not a tap device, or was not made for 1 queue: make it with: ip tuntap add NAME mode tap",
        name + "veth0: it is not a tap device, or was not made for 1 queue: make it with: ip tuntap add NAME mode tap",
        name + "tap0: it is not a tap device, or was not made for 4 queues: "
        "make it with: ip tuntap add NAME mode tap multi_queue",
    ]


def test_without_the_privilege_the_message_says_how_to_make_one(inside):
    shown = inside('print(refused("tap0", 2, None))', "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert shown == [
        "tap: cannot use the tap tap0: there is none, and making one needs CAP_NET_ADMIN: make it for this user "
        "(sudo ip tuntap add tap0 mode tap multi_queue user $USER; sudo ip link set tap0 up)"
    ]


NO_PRIVILEGE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.parametrize(("make", "why"), [
    (":", "this host has no /dev/net/tun: load the kernel's module tun (modprobe tun)"),
    ("touch /dev/net/tun && chmod 0 /dev/net/tun",
     "/dev/net/tun cannot be opened: give this user read and write access to it"),
])  # fmt: skip
def test_without_the_device_of_taps_the_message_says_what_to_do(inside, make, why):
    hide = f'mount -t tmpfs none /dev/net && {make} && exec "$@"'
    shown = inside('print(refused("tap0", 1, None))', "unshare", "-m", "sh", "-c", hide, "sh", *NO_PRIVILEGE)
    assert shown == [f"tap: cannot use the tap tap0: {why}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a tap to another user")
def test_a_tap_that_belongs_to_another_user():
    code = HEAD + 'print(refused("tap0", 1, None))'
    script = 'ip tuntap add tap0 mode tap user 1 && exec "$@"'
    command = ["unshare", "-n", "sh", "-c", script, "sh", *NO_PRIVILEGE, sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=HERE)
    assert done.stdout.splitlines() == [
        "tap: cannot use the tap tap0: it belongs to another user: make it for this one "
        "(ip tuntap add tap0 mode tap user $USER)"
    ], done.stderr


def test_frames_offloads_and_queues_as_the_kernel_has_them(inside):
    """An ARP request for the host's address, answered by the kernel; then the offloads that ethtool sees."""
    shown = inside("""
import struct, time
from runner.memory import GuestMemory
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtqueuefake import Buffer, EVENT_IDX, VERSION_1
from tests.runner.devices.conftest import Guest
from runner.devices.virtio.mmio import MMIO
from runner.devices.virtio.net import Net
from vmspec.plan.calls import Slot

tap = Tap("tap0", 2, None)
ip("address", "add", "10.0.0.1/24", "dev", "tap0")
memory = GuestMemory((Slot(0, 0, 1 << 20, 0),))
device = Net(tap, "52:54:00:12:34:56", None, 2)
guest = Guest(MMIO.of(Net)(device, print), memory=memory)
driver = Driver(guest, memory)

def features():
    words = ip("-details", "-j", "link", "show", "tap0")
    import json
    [link] = json.loads(words)
    data = link["linkinfo"]["info_data"]
    return data["numqueues"], data["numdisabled"], data["vnet_hdr"]

driver.start(5, 16, driver.offered())
print(*features())
mac = bytes.fromhex("525400123456")
request = b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + bytes([10, 0, 0, 2]) + bytes(6)
request += bytes([10, 0, 0, 1])
memory.write(0x40000, bytes(12) + request)
for at in range(8):
    driver.queues[0].add([Buffer(0x50000 + 2048 * at, 2048, write=True)])
driver.notify(0)
driver.queues[1].add([Buffer(0x40000, 12 + len(request))])
driver.notify(1)
late = time.monotonic() + 20
answer = None
while answer is None and time.monotonic() < late:
    for head, size in driver.queues[0].done():
        frame = memory.read(0x50000 + 2048 * head, size)[12:]
        if frame[12:14] == b"\\x08\\x06":
            answer = frame
    time.sleep(0.001)
print(answer[:6].hex(), answer[20:22].hex(), answer[28:32].hex())
memory.write(0x42000, b"\\4\\0" + b"\\2\\0")
driver.queues[4].add([Buffer(0x42000, 4), Buffer(0x43000, 1, write=True)])
driver.notify(4)
while not driver.queues[4].done():
    time.sleep(0.001)
print(memory.read(0x43000, 1)[0], *features())
ip("link", "delete", "tap0")
while tap.net.pair[0].fd != -1:
    time.sleep(0.001)
print("gone", *taps())
guest.paths[0].end()
tap.close()
""")
    assert shown == ["1 1 True", "525400123456 0002 0a000001", "0 2 0 True", "gone"]


@pytest.mark.kvm
def test_with_virtual_time_the_hosts_answer_is_recorded_and_replayed(inside, write_spec):
    """It says where its address is (ARP), and may send more than that."""
    spec = write_spec(
        guests.exchange([arp(1)] * 2) + HLT,
        boot={"mode": "protected"},
        devices=[{"kind": "virtio-net", "tap": "tap0"}, {"kind": "post-port"}],
        vm=guests.VIRTUAL | {"memory": "1MiB"},
        trace=guests.RECORDED,
    )
    shown = inside(f"""
import runner, tracer
from runner.cli import main
ip("tuntap", "add", "tap0", "mode", "tap")
ip("address", "add", "10.0.2.2/24", "dev", "tap0")
ip("link", "set", "tap0", "up")
result = runner.run({str(spec)!r})
print(result.kind)
inputs = [row["data"] for row in tracer.load(result.trace).tables["inputs"].table.to_pylist()]
print(any(data[12 + 12 : 12 + 14] == b"\\x08\\x06" for data in inputs))
print(main(["--replay", str(result.trace)]), main(["replay", str(result.trace)]))
""")
    assert [*shown[:2], shown[-1]] == ["halt", "True", "0 0"]
