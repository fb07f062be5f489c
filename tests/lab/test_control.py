"""Linux and every command of a running machine: one stay."""

import json
import re
import sys

import pytest

from tests.guests import beside, debian
from tests.lab.labruns import HERE, stayed
from vmspec.document import Document

pytestmark = [pytest.mark.lab, pytest.mark.soak]

DRIVERS = ("virtio_mmio", "virtio_console", "virtio_balloon")


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the commands printed, and the guest."""
    out = tmp_path_factory.mktemp("control")
    kernel = debian.kernel("6.1-cloud")
    (out / "vmlinuz").write_bytes(kernel.bzimage.read_bytes())
    beside.write_initrd(kernel, out / "initrd.img", HERE / "control-init", DRIVERS)
    (out / "control.toml").write_text((HERE / "control.toml").read_text())
    Document.open(out / "control.toml").plan()  # unpacks the kernel into the cache, where the lab finds it
    stayed("--timeout", "30m", "--share", out, "--", sys.executable, "tests/lab/inside/control.py", out)
    return json.loads((out / "said.json").read_text())


def done(said, name):
    assert (said[name]["status"], said[name]["error"]) == (0, ""), said[name]
    return said[name]["out"]


def test_consoles_are_typed_to(said):
    assert "a 42" in said["serial"]
    assert "b 42" in said["virtio"]


def test_it_is_listed_and_inspected(said):
    [listed] = json.loads(done(said, "list"))
    assert (listed["name"], listed["state"], listed["vcpus"]) == ("control", "running", 2)
    tree = json.loads(done(said, "inspect"))
    assert [vcpu["registers"]["mode"].split(",")[0] for vcpu in tree["vcpus"].values()] == ["long mode"] * 2
    queues = tree["devices"]["virtio-console0"]["state"]["common"]["queues"]
    assert queues["1"]["ready"]
    assert queues["1"]["put"] == queues["1"]["used"] > 0


def test_its_exits_and_requests_are_counted(said):
    counters = json.loads(done(said, "stat"))
    assert counters["exits"]["io"] > 1000
    assert counters["devices"]["serial0"] > 1000
    assert counters["queues"]["virtio-console0 queue 1"] > 0
    assert counters["dropped"] == 0


def test_the_balloon_takes_memory(said):
    done(said, "balloon")
    assert said["ballooned"] == 100 << 20


def test_a_vcpu_takes_an_nmi(said):
    done(said, "nmi")
    assert re.search(r"NMI received for unknown reason \w+ on CPU 1", said["nmi text"])


@pytest.mark.parametrize("device", ["serial0", "virtio-console0"])
def test_a_magic_sysrq_is_pressed(said, device):
    done(said, f"sysrq {device}")
    assert "show-all-locks" in said[f"sysrq {device} text"] or "reboot(b)" in said[f"sysrq {device} text"]


def test_the_virtio_console_has_a_size(said):
    assert re.search(r"^33 111\r?$", said["size"], re.MULTILINE)


def test_a_hundred_pauses_lose_no_time_and_no_interrupt(said):
    """The guest's clock stands in a pause, and its work and its timers go on."""
    found = said["pauses"]
    before, after = (float(value) for value in re.findall(r"(\d+\.\d\d)\r?$", found["text"], re.MULTILINE))
    assert 4 < after - before < found["host"] - found["stood"] + 1


def test_a_core_file_is_written(said):
    done(said, "dump")
    assert said["core"] > 256 << 20
    assert bytes.fromhex(said["machine type"])[:4] == b"\x7fELF"


@pytest.mark.parametrize(("name", "status"), [("stop", 130), ("reset", 0)])
def test_commands_end_it(said, name, status):
    kind = "interrupted" if name == "stop" else "reset"
    assert said[f"{name} command"]["out"] == f"control: {kind}, exit status {status}\n"
    assert (said[name]["kind"], said[name]["status"]) == (kind, status)
    assert "vmrun: userspace" in said[name]["console"]


def test_a_thousand_clients_and_broken_ones_are_answered(said):
    assert said["connects"] == {"answered": 1000, "then": "running"}


def test_nothing_is_left(said):
    assert said["left"] == []


def test_nothing_is_left_of_a_run_that_was_killed(said):
    for found in said["killed"]:
        assert found | {"listed": ""} == {"alive": True, "left": [], "listed": "", "sockets": []}
        assert "control" not in found["listed"]
