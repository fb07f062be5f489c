"""Virtio devices from the user's files."""

import pytest

from runner.devices import Board, DeviceError, make
from runner.devices.device import raised
from tests.fakes.virtiodriver import Driver
from tests.fakes.virtqueuefake import Buffer
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import virtio as R

UPPER = """
from runner.devices.virtio import Chain, VirtioDevice

class Upper(VirtioDevice):
    number = 42
    queue_sizes = (8, 4)
    features = 1

    def __init__(self, tail=""):
        self.tail = tail

    def configuration(self):
        return b"upper"

    def request(self, queue, chain):
        return chain.write((chain.read(64).decode().upper() + self.tail).encode())
"""


@pytest.fixture
def own(tmp_path):
    """Write a file and make a device from it."""

    def build(source, cls="upper:Upper", **options):
        (tmp_path / "upper.py").write_text(source)
        table = {"class": cls, "options": options}
        return make(PlannedDevice("virtio-python0", "virtio-python", table, transport="mmio"), Board(tmp_path, ()))

    return build


def asked(driver):
    """What the device answers."""
    driver.memory.write(0x80000, b"hello")
    driver.queues[0].add([Buffer(0x80000, 5), Buffer(0x80100, 16, write=True)])
    driver.notify(0)
    return [driver.memory.read(0x80100, written) for _, written in driver.queues[0].done()]


def test_a_class_beside_the_spec_is_given_chains(own, plug, memory):
    driver = Driver(plug(own(UPPER, tail="!"), memory=memory), memory).start(queues=2, size=4)
    assert driver.read(R.DEVICE_ID) == 42
    assert driver.offered() & 0xFF == 1
    assert bytes(driver.guest.read(R.CONFIG + at, 1) for at in range(6)) == b"upper\0"
    assert asked(driver) == [b"HELLO!"]


def test_an_error_names_the_line_of_the_users_file(own, plug, memory, tmp_path):
    device = own(UPPER.replace("chain.read(64)", "chain.read(64).nonsense"))
    driver = Driver(plug(device, memory=memory), memory).start(queues=2, size=4)
    with pytest.raises(AttributeError) as caught:
        asked(driver)
    assert raised(caught.value, device).endswith(f"({tmp_path}/upper.py:16)")


def test_the_trace_knows_the_file(own, tmp_path):
    assert list(own(UPPER).made_from) == [tmp_path / "upper.py"]


@pytest.mark.parametrize(
    "changed", [("(8, 4)", "(1024,) * 64"), ("(8, 4)", "(1, 2)"), ("features = 1", "features = 0"), ("42", "63")]
)
def test_the_most_and_the_least_that_a_class_may_have(own, changed):
    assert own(UPPER.replace(*changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("number = 42", "number = 0"), "number is 0, not the number of a kind of virtio device, 1 to 63"),
        (("number = 42", ""), "number is None, not the number of a kind"),
        (("(8, 4)", "()"), r"queue_sizes is \(\), not the lengths of 1 to 64 queues"),
        (("(8, 4)", "(8, 5)"), r"queue_sizes is \(8, 5\), .* a power of two up to 1024"),
        (("(8, 4)", "8"), "queue_sizes is 8, not"),
        (("queue_sizes = (8, 4)", ""), "queue_sizes is None, not"),
        (("(8, 4)", "(8,) * 65"), "queue_sizes is .*, not the lengths of 1 to 64 queues"),
        (("number = 42", "number = 64"), "number is 64, not"),
        (("(8, 4)", "(2048,)"), "queue_sizes is"),
        (("features = 1", "features = 1 << 28"), "features is 268435456, not bits 0 to 23 and 50 to 63"),
        (("features = 1", "features = -1"), "features is -1"),
        (("features = 1", "features = True"), "features is True"),
        (("features = 1", "features = 1.0"), "features is 1.0"),
        (("VirtioDevice):", "Chain):"), "is not a subclass of runner.devices.virtio.VirtioDevice"),
        (("number = 42", "number = nothing"), "cannot be loaded: NameError"),
        (("self.tail = tail", "raise ValueError('no')"), r"Upper\(\) failed: ValueError: no \(.*upper.py:10\)"),
    ],
)
def test_a_class_that_cannot_be_used(own, changed, said):
    with pytest.raises(DeviceError, match=said):
        own(UPPER.replace(*changed))


@pytest.mark.kvm
def test_an_error_of_the_class_ends_the_run(run_guest, tmp_path):
    from tests.fakes.flatdriver import DATA, HLT, USED, await_word, describe, offer, start

    (tmp_path / "upper.py").write_text(UPPER.replace("chain.read(64)", "chain.read(64).nonsense"))
    result = run_guest(
        start() + describe(0, DATA, 16, 2) + offer(0, 0) + await_word(USED + 2, 1) + HLT,
        boot={"mode": "protected"},
        devices=[{"kind": "virtio-python", "class": "upper:Upper"}],
        vm={"timeout": "20s"},
    )
    assert (result.kind, result.status) == ("device-error", 2)
    assert "device virtio-python0 raised AttributeError: 'bytes' object has no attribute 'nonsense'" in result.detail
    assert "upper.py:16" in result.detail
