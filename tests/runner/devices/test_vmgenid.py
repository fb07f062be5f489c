"""The generation ID: what the guest reads, and when it is told of another one."""

import pytest

from runner.devices.vmgenid import Vmgenid, VmgenidState

ID = bytes(range(1, 17))


@pytest.fixture
def device(plug):
    return plug(Vmgenid(ID), region="generation")


def test_the_guest_reads_the_id_and_cannot_write_it(device):
    device.write(0, 0xFF)
    assert bytes(device.read(at) for at in range(16)) == ID
    assert [device.device.read("generation", at, 8) for at in (0, 8)] == [0x0807060504030201, 0x100F0E0D0C0B0A09]


@pytest.mark.parametrize(("saved", "interrupts"), [(ID, 0), (ID[::-1], 1)], ids=["the same", "another"])
def test_a_guest_that_had_another_id_is_told(device, saved, interrupts):
    device.device.load(VmgenidState(generation=saved))
    device.let_pass(1)
    assert device.edges == interrupts
    assert device.device.save().generation == ID
