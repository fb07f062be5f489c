"""Devices on the real bus, where C answers and queues writes for them: reset, saved, loaded."""

import attrs
import pytest

from runner.devices import Device, StateError
from runner.devices.pci.function import BAR, Function, FunctionState, Identity
from runner.devices.rtc import RTC
from runner.devices.serial import Serial
from runner.devices.services import Services
from runner.machine.bus import Buses
from runner.machine.inputs import Inputs
from runner.recording.rings import Rings
from tests.fakes.fakeclock import FakeClock
from vmspec import layout
from vmspec.devices.regions import Region
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import pci
from vmspec.registers.serial import IER, LCR, MCR, SCR, THR

COM, CMOS = 0x3F8, 0x70
PLANNED = [
    PlannedDevice("serial0", "serial", {}, (Region("registers", "port", 8, COM),)),
    PlannedDevice("rtc0", "rtc", {}, (Region("registers", "port", 2, CMOS),)),
]


class Quiet:
    def set(self, level):
        pass


class Machine:
    """A serial port and a clock on the C bus, and the loop of one vCPU."""

    def __init__(self, make_loop, planned=PLANNED, devices=None):
        self.text = b""
        self.clock = FakeClock()
        self.buses = Buses(planned, self.clock, Inputs(), pytest.fail)
        self.rings = Rings(1, 64, "wait", None)
        self.rings.start(1_000_000)
        for index, device in enumerate(devices or (Serial(), RTC())):
            self.buses.devices.append(device)
            after = lambda delay, index=index: self.buses.after(index, delay)  # noqa: E731
            device.attach(
                Services(self.buses.end_of(index), Quiet(), Quiet, None, self.print, print, self.clock, after)
            )
        self.loop = make_loop(self.buses.bus, self.rings.ring(0))
        self.asked = 0

    def print(self, data):
        self.text += data

    def out(self, port, value):
        self.answer(self.loop.io(port, 1, bytes((value,)), write=True))

    def into(self, port):
        self.answer(self.loop.io(port, 1, b"\xcc", write=False))
        return self.loop.port_data(1)[0]

    def answer(self, access):
        while access:
            self.asked += 1
            self.buses.answer(access)
            access = self.loop.go_on()

    def close(self):
        self.buses.close()
        self.rings.close()


@pytest.fixture
def build(make_loop):
    made = []

    def one(**options):
        made.append(Machine(make_loop, **options))
        return made[-1]

    yield one
    for machine in made:
        machine.close()


def use(machine):
    """Leave traces of all kinds: in registers that Python keeps, that C keeps, and in the queue."""
    machine.out(COM + SCR, 0x5A)
    machine.out(COM + MCR, 0x0B)
    machine.out(COM + LCR, 0x03)
    machine.out(COM + IER, 0x05)  # taken by C, and not handed over yet
    machine.out(CMOS, 0x40)
    machine.out(CMOS + 1, 0x77)
    for letter in b"text":
        machine.out(COM + THR, letter)


def registers(machine):
    return [machine.into(COM + offset) for offset in (IER, LCR, MCR, SCR)], machine.into(CMOS + 1)


def test_what_was_queued_is_saved_with_the_rest(build):
    machine = build()
    use(machine)
    states = machine.buses.save()
    assert (list(states), states["serial0"].ier, machine.text) == (["serial0", "rtc0"], 5, b"text")


def test_a_loaded_machine_answers_as_the_saved_one_without_python(build):
    one, other = build(), build()
    use(one)
    states = one.buses.save()
    other.buses.load(states)
    asked = other.asked
    assert registers(other) == registers(one) == ([0x05, 0x03, 0x0B, 0x5A], 0x77)
    assert other.asked == asked
    assert other.buses.save() == states


def test_what_c_has_taken_does_not_outlast_a_reset(build):
    machine, new = build(), build()
    use(machine)
    machine.buses.reset()
    assert registers(machine) == registers(new)
    assert machine.buses.save() == new.buses.save()


def test_a_timer_does_not_outlast_a_reset(build):
    machine = build()
    machine.out(CMOS, 0x0B)
    machine.out(CMOS + 1, 0x42)  # periodic interrupts
    machine.buses.reset()
    machine.clock.now += 10**10
    machine.buses._tick()
    machine.out(CMOS, 0x0C)
    assert machine.into(CMOS + 1) & 0x80 == 0


def test_a_timer_goes_on_in_a_loaded_machine(build):
    one, other = build(), build()
    one.out(CMOS, 0x0B)
    one.out(CMOS + 1, 0x42)
    other.buses.load(one.buses.save())
    other.clock.now += 10**9
    other.buses._tick()
    other.out(CMOS, 0x0C)
    assert other.into(CMOS + 1) & 0xC0 == 0xC0


def test_a_timer_that_was_put_off_meanwhile_does_not_expire(build):
    """A vCPU's thread may ask for another time between the look at the timers and the device's lock."""

    class Ticker(Device):
        ticks = 0

        def tick(self):
            self.ticks += 1

    machine = build(planned=PLANNED[:1], devices=[Ticker()])
    machine.buses.after(0, 5)
    machine.clock.now = 5

    class PutOff:
        def __enter__(self):
            machine.buses.after(0, 100)

        def __exit__(self, *_):
            pass

    asking, machine.buses._asking[0] = machine.buses._asking[0], PutOff()
    machine.buses._tick()
    assert machine.buses.devices[0].ticks == 0
    machine.buses._asking[0] = asking
    machine.clock.now = 105
    machine.buses._tick()
    assert machine.buses.devices[0].ticks == 1


def test_the_states_of_another_machine_are_rejected(build):
    machine, other = build(), build(planned=PLANNED[:1], devices=[Serial()])
    with pytest.raises(StateError, match="the saved devices are serial0, rtc0; this machine's are serial0"):
        other.buses.load(machine.buses.save())


def test_a_state_of_another_device_is_rejected_with_the_devices_name(build):
    machine = build()
    states = machine.buses.save()
    with pytest.raises(StateError, match="device serial0: the saved state is a RTCState, not the SerialState"):
        machine.buses.load(states | {"serial0": states["rtc0"]})


def test_states_survive_being_written_and_read(build):
    """As plain values, which is how they will be kept."""
    one, other = build(), build()
    use(one)
    states = one.buses.save()
    plain = {name: attrs.asdict(state) for name, state in states.items()}
    other.buses.load({name: type(states[name])(**values) for name, values in plain.items()})
    assert other.buses.save() == states


class Card(Function):
    """A PCI function with a region of a page."""

    state_class = FunctionState

    def __init__(self, start):
        self._start = start

    def start(self):
        self.begin(Identity(0x1234, 0x5678, 0), (BAR("memory", 0x1000, self._start),))
        self.power_on()

    def write(self, region, offset, size, value):
        self.write_configuration(offset, size, value)

    def reset(self):
        self.power_on()

    def save(self):
        return self.save_function()

    def load(self, state):
        self.load_function(state, asserted=False)


def test_functions_that_exchange_their_places_are_all_mapped_after_a_reset_and_a_load(build):
    places = [layout.PCI_MEMORY + 0x1000 * at for at in range(3)]
    planned = [
        PlannedDevice(
            f"d{at}", "python", {}, (Region("memory", "mmio", 0x1000), Region("configuration", "pci", 256, at << 15))
        )
        for at in range(3)
    ]
    one, other = (build(planned=planned, devices=[Card(place) for place in places]) for _ in range(2))

    def starts(machine):
        return [machine.buses.regions.start(2 * at) for at in range(3)]

    cards = one.buses.devices
    for card, place in ((0, places[2] + 0x1000), (1, places[0]), (2, places[1]), (0, places[2])):
        cards[card].write("configuration", pci.BAR, 4, place)
    exchanged = [places[2], places[0], places[1]]
    assert (starts(one), starts(other)) == (exchanged, places)
    other.buses.load(one.buses.save())
    assert starts(other) == exchanged
    one.buses.reset()
    assert starts(one) == places
