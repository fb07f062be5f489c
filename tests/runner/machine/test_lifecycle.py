"""A machine's states, and the gate at which vCPUs stand still, without KVM."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.loop import Latch
from runner.machine.bus import Buses
from runner.machine.clock import HostClock
from runner.machine.guesttime import GuestTime
from runner.machine.inputs import Inputs
from runner.machine.lifecycle import Barrier, Lifecycle, LifecycleError, State
from runner.native import _native
from vmspec.host.threads import Worker

lib = _native.lib
ORDER = {
    ("created", "running"), ("running", "paused"), ("paused", "running"),
    ("created", "ended"), ("running", "ended"), ("paused", "ended"),
}  # fmt: skip


@given(st.lists(st.sampled_from(State)))
def test_a_machine_goes_from_state_to_state_as_it_may_and_never_otherwise(wanted):
    life = Lifecycle()
    for state in wanted:
        before = life.state
        if (before, state) in ORDER:
            life.enter(state)
            assert life.state is state
        else:
            with pytest.raises(LifecycleError, match=f"a machine that is {before} cannot become {state}"):
                life.enter(state)
            assert life.state is before


class Vcpu:
    """What the barrier sees of a vCPU's thread: one that comes to the gate when it is kicked, where ``comes``."""

    def __init__(self, comes=True):
        self.comes = comes
        self.kicks = 0

    def kick(self):
        self.kicks += 1

    def stands(self):
        return self.comes and self.kicks > 0


@pytest.fixture
def stopping():
    latch = Latch()
    yield latch
    latch.close()


def test_vcpus_are_kicked_and_waited_for(stopping):
    barrier, vcpus = Barrier(stopping), [Vcpu(), Vcpu()]
    barrier.close(vcpus)
    assert barrier.vcpus(vcpus, 0) is None
    assert [vcpu.kicks for vcpu in vcpus] == [1, 1]


def test_a_vcpu_that_does_not_come_is_named(stopping):
    late = Vcpu(comes=False)
    assert Barrier(stopping).vcpus([late], 0) is late


def test_nobody_is_waited_for_once_the_run_ends(stopping):
    stopping.set()
    assert Barrier(stopping).vcpus([Vcpu(comes=False)], float("inf")) is None


@pytest.fixture
def buses():
    made = Buses([], HostClock(), Inputs(), pytest.fail)
    yield made
    made.close()


def test_the_device_thread_stands_still_until_the_barrier_opens(stopping, buses):
    went_on, barrier = threading.Event(), Barrier(stopping)
    barrier.close([])
    thread = Worker("devices", lambda: (buses.deliver(), went_on.set()))
    thread.start()
    assert barrier.devices(buses, thread, float("inf")) is None
    assert not went_on.wait(0.05)
    barrier.open()
    assert went_on.wait(60)
    thread.wait()


def test_a_device_thread_that_does_not_come_is_named(stopping, buses):
    thread = Worker("devices")
    assert Barrier(stopping).devices(buses, thread, 0) is thread


def test_one_that_comes_too_late_does_not_stop(stopping, buses):
    barrier = Barrier(stopping)
    barrier.close([])
    barrier.devices(buses, Worker("devices"), 0)
    barrier.open()
    buses.deliver()


# The C side, with a vCPU whose KVM_RUN fails


def test_a_vcpu_stands_before_the_guest_until_the_gate_opens_and_again_once_it_has_ended(loop, stopping):
    gate = Barrier(stopping).gate
    loop.vcpu.gate = gate.words
    thread = Worker("vcpu", loop.go_on)
    thread.start()
    while not lib.vcpu_stands(loop.vcpu):
        pass
    assert (loop.rings.stamps("start"), thread.running) == ([None], True)
    gate.open()
    assert thread.wait(60)
    assert not lib.vcpu_stands(loop.vcpu)
    lib.vcpu_leave(loop.vcpu)
    assert lib.vcpu_stands(loop.vcpu)
    gate.close()
    assert lib.vcpu_stands(loop.vcpu)


def test_who_stands_at_an_earlier_turn_does_not_stand_at_this_one(loop, stopping):
    gate = Barrier(stopping).gate
    loop.vcpu.gate = gate.words
    loop.vcpu.standing = gate.words.turn  # and the thread does not get a processor
    assert lib.vcpu_stands(loop.vcpu)
    gate.open()
    gate.close()
    assert not lib.vcpu_stands(loop.vcpu)


# Time


def test_a_clock_that_is_stopped_goes_on_where_it_stood():
    clock = HostClock()
    before = clock.monotonic()
    clock.stop()
    stopped = clock.monotonic()
    assert before <= stopped == clock.monotonic()
    clock.go_on()
    assert stopped <= clock.monotonic()


def test_the_date_is_not_stopped(monkeypatch):
    clock = HostClock()
    clock.stop()
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    assert clock.realtime() == 1_700_000_000_000_000_000


@given(st.lists(st.integers(0, 1 << 40), min_size=2))
def test_a_clock_shows_the_time_in_which_it_was_not_stopped(spans):
    """It runs and stands still by turns."""
    now, ran = 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic_ns", lambda: now)
        clock = HostClock()
        for turn, span in enumerate(spans):
            now += span
            ran += 0 if turn % 2 else span
            assert clock.monotonic() == ran
            if turn % 2:
                clock.go_on()
            else:
                clock.stop()
            assert clock.monotonic() == ran


class Clocks:
    """What the clocks that KVM keeps for a guest are set to: ``offsets`` of the TSC by vCPU, ``now``; and what else is
    asked of KVM. A capability that the host lacks is not used."""

    def __init__(self, lacks=()):
        self.lacks = lacks
        self.offsets = [100, (1 << 64) - 5]
        self.now = 7_000
        self.calls = []
        self.vcpus = [Vclocks(self, index) for index in range(2)]

    def check_extension(self, name):
        return 0 if name in self.lacks else 1

    def clock(self):
        return self.now

    def set_clock(self, clock):
        self.calls.append(("clock", clock))

    def restart_pit(self):
        self.calls.append("pit")


class Vclocks:
    def __init__(self, clocks, index):
        self.clocks, self.index = clocks, index

    def tsc_offset(self):
        return self.clocks.offsets[self.index]

    def set_tsc_offset(self, offset):
        self.clocks.offsets[self.index] = offset

    def was_stopped(self):
        self.clocks.calls.append(("was stopped", self.index))


def test_the_guests_clocks_go_on_where_they_were():
    """The TSCs of all vCPUs move back by the same ticks."""
    time = GuestTime(kvm := Clocks(), kvm, kvm.vcpus, pit=True)
    before = list(kvm.offsets)
    time.stop()
    kvm.now = 9_000
    time.go_on()
    moved = {old - new for old, new in zip(before, kvm.offsets, strict=True)}
    assert (len(moved), moved.pop() > 0) == (1, True)
    assert kvm.calls == [("clock", 7_000), "pit", ("was stopped", 0), ("was stopped", 1)]


def test_a_resume_that_failed_is_asked_for_again(monkeypatch):
    """The TSC moves once, however often: by no more ticks than passed since the stop."""
    time = GuestTime(kvm := Clocks(), kvm, kvm.vcpus, pit=True)
    before = list(kvm.offsets)
    begin = lib.tsc_now()
    time.stop()
    with monkeypatch.context() as patch:
        patch.setattr(Clocks, "set_clock", lambda *_: os.close(-1))
        with pytest.raises(OSError, match="Bad file descriptor"):
            time.go_on()
    time.go_on()
    assert 0 < before[0] - kvm.offsets[0] <= lib.tsc_now() - begin
    assert kvm.calls == [("clock", 7_000), "pit", ("was stopped", 0), ("was stopped", 1)]


@pytest.mark.parametrize(
    ("lacks", "calls"),
    [
        ("KVM_CAP_ADJUST_CLOCK", ["pit", ("was stopped", 0), ("was stopped", 1)]),
        ("KVM_CAP_KVMCLOCK_CTRL", [("clock", 7_000), "pit"]),
        ("KVM_CAP_VCPU_ATTRIBUTES", [("clock", 7_000), "pit", ("was stopped", 0), ("was stopped", 1)]),
    ],
)
def test_what_the_host_cannot_set_goes_on(lacks, calls):
    time = GuestTime(kvm := Clocks((lacks,)), kvm, kvm.vcpus, pit=True)
    before = list(kvm.offsets)
    time.stop()
    time.go_on()
    assert (kvm.calls, kvm.offsets == before) == (calls, lacks == "KVM_CAP_VCPU_ATTRIBUTES")
