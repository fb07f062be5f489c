"""Accesses to configuration space reach the device that has a region there."""

import threading

import pytest

from runner.devices.device import Device
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.configuration import ConfigurationSpace
from runner.machine.inputs import Inputs
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice


class Recorder(Device):
    """Keeps what it was asked, and whether its lock was held."""

    def __init__(self):
        self.asked = []

    def read(self, region, offset, size):
        self.asked.append((region, offset, size))
        return offset

    def write(self, region, offset, size, value):
        self.asked.append((region, offset, size, value))


@pytest.fixture
def machine():
    regions = (Region("registers", "mmio", 256), Region("configuration", "pci", 256, 1 << 15))
    planned = (
        PlannedDevice("a", "k", {}, (Region("registers", "mmio", 256, 0x8000),)),
        PlannedDevice("b", "k", {}, regions),
    )
    failures = []
    buses = Buses(planned, HostClock(), Inputs(), failures.append)
    buses.devices += [Recorder(), Recorder()]
    yield buses
    buses.close()
    assert failures == []


def test_an_access_reaches_the_function_at_its_offset(machine):
    space = ConfigurationSpace(machine)
    assert space.read(0x8010, 4) == 0x10
    space.write(0x80FE, 2, 5)
    assert machine.devices[1].asked == [("configuration", 0x10, 4), ("configuration", 0xFE, 2, 5)]
    assert machine.devices[0].asked == []  # it has that address in another space


@pytest.mark.parametrize(("address", "size"), [(0x7FFF, 1), (0x8100, 1), (0x80FE, 4), (0x7FFE, 4), (0, 8)])
def test_there_is_nothing_elsewhere(machine, address, size):
    space = ConfigurationSpace(machine)
    space.write(address, size, 0)
    assert space.read(address, size) == (1 << 8 * size) - 1
    assert machine.devices[1].asked == []


def test_the_functions_lock_is_held(machine):
    entered = []

    def read(region, offset, size):
        other = threading.Thread(target=lambda: entered.append(machine._asking[1].lock.acquire(blocking=False)))
        other.start()
        other.join()
        return 0

    machine.devices[1].read = read
    ConfigurationSpace(machine).read(0x8000, 4)
    assert entered == [False]
