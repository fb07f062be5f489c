"""What stops a guest and where breakpoints go, with a machine that is none: no host's limits show here."""

from types import SimpleNamespace

import pytest

from runner.control.gdb.breakpoints import INT3, Kind, Request
from runner.control.gdb.machinetarget import MachineTarget
from runner.control.gdb.target import Stop
from runner.kvm.errors import HostError, KvmError
from runner.kvm.ioctl import lib
from runner.x86.state import State

BS, DR6 = 1 << 14, 0xFFFF0FF0
CODE = 0x1000


class Thread:
    """A vCPU's thread; ``asked`` and ``injected`` are what was set last."""

    def __init__(self):
        self.debug = SimpleNamespace(held=lib.DEBUG_HELD, asked=0, exception=0, pc=0, dr6=0, event=-1)
        self.registers, self.injected, self.fails = (), 0, False

    def set_debug(self, asked, registers, inject=0):
        if self.fails:
            raise KvmError(16, "KVM_SET_GUEST_DEBUG")
        self.debug.asked, self.registers, self.injected = asked, registers, inject

    def hold(self):
        self.debug.held = lib.DEBUG_HELD

    def release(self):
        self.debug.held = lib.DEBUG_GOES

    def meets(self, dr6=0, exception=1, pc=0):
        self.debug.held, self.debug.exception = lib.DEBUG_STOPPED, exception
        self.debug.dr6, self.debug.pc = DR6 | dr6, pc


class Memory:
    def __init__(self):
        self.bytes = bytearray(range(256)) * 32

    def view(self, address, size, write=True):
        if not 0 <= address <= len(self.bytes) - size:
            raise ValueError(f"{address:#x}")
        return memoryview(self.bytes)[address : address + size]

    def read(self, address, size):
        return bytes(self.view(address, size))

    def write(self, address, data):
        self.view(address, len(data))[:] = data


class Machine:
    def __init__(self, time=None, extensions=lib.KVM_GUESTDBG_BLOCKIRQ | 1, vcpus=2):
        self.system = SimpleNamespace(check_extension=lambda name: extensions)
        self.threads, self.memory, self.time = [Thread() for _ in range(vcpus)], Memory(), time
        self.plan = SimpleNamespace(bits=64)
        state = SimpleNamespace(state=State({}, {}))
        self.vcpus = [SimpleNamespace(registers=lambda: state)] * vcpus
        self.fetched, self.said = [], []
        self.late = 0  # times that it does not stand still

    def hold(self):
        self.late -= 1
        if self.late >= 0:
            raise TimeoutError("serial0 does not return")
        return True

    def release(self, prepare):
        prepare()
        return True


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def target(machine):
    made = MachineTarget(machine, str, machine.said.append)
    yield made
    made.close()


def insert(target, kind, *addresses):
    for address in addresses:
        target.breakpoints.insert(Request(kind, address, 4 if kind > 1 else 1, target.code(0, address)))


ALL = {0: False, 1: False}


def test_the_fifth_breakpoint_is_int3_only_while_the_guest_runs(machine, target):
    insert(target, Kind.SOFTWARE, *range(CODE, CODE + 5))
    code = machine.memory.read(CODE, 5)
    assert target.go(ALL) is None
    assert machine.memory.read(CODE, 5) == code[:4] + INT3
    machine.threads[1].meets(exception=3, pc=CODE + 4)
    assert target.stop()
    assert machine.memory.read(CODE, 5) == code
    assert target.taken() == Stop(1, met=Request(Kind.SOFTWARE, CODE + 4, 1, CODE + 4))
    asked = {thread.debug.asked for thread in machine.threads}
    assert asked == {lib.KVM_GUESTDBG_USE_HW_BP | lib.KVM_GUESTDBG_USE_SW_BP}


@pytest.mark.parametrize(("bits", "wide"), [(64, True), (32, False), (None, False)])
def test_before_its_first_instruction_the_registers_are_those_of_the_image(machine, bits, wide):
    machine.plan.bits = bits
    target = MachineTarget(machine, str, str)
    target.close()
    assert target.wide == wide


def test_two_addresses_of_the_same_byte(machine, target):
    """A kernel has its code twice, and processes share a library's."""
    insert(target, Kind.SOFTWARE, *range(CODE, CODE + 5))
    target.breakpoints.insert(Request(Kind.SOFTWARE, 0xFFFF_8000_0000_0000 | CODE + 4, 1, CODE + 4))
    code = machine.memory.read(CODE, 5)
    target.go(ALL)
    assert machine.memory.read(CODE, 5) == code[:4] + INT3
    target.stop()
    assert machine.memory.read(CODE, 5) == code


def test_others_find_no_int3(machine, target):
    insert(target, Kind.SOFTWARE, *range(CODE, CODE + 6))
    code = machine.memory.read(CODE, 6)
    target.go(ALL)
    machine.memory.write(CODE + 5, b"\x90")
    with machine.unpatched():
        assert machine.memory.read(CODE, 6) == code[:5] + b"\x90"
    assert machine.memory.read(CODE, 6) == code[:4] + INT3 + b"\x90"
    target.stop()
    with machine.unpatched():
        assert machine.memory.read(CODE, 6) == code[:5] + b"\x90"


def test_a_guest_that_does_not_stand_still_is_stopped_once_it_does(machine, target):
    """A console may wait for a reader who does not read. The user is told once."""
    target.go(ALL)
    machine.late = 3
    assert target.stop()
    assert machine.said == ["gdb: the guest cannot be stopped yet: serial0 does not return"]


def test_what_the_guest_writes_over_int3_stays(machine, target):
    insert(target, Kind.SOFTWARE, *range(CODE, CODE + 5))
    target.go(ALL)
    machine.memory.write(CODE + 4, b"\x90")
    target.stop()
    assert machine.memory.read(CODE + 4, 1) == b"\x90"


@pytest.mark.parametrize(("exception", "inject"), [(3, lib.KVM_GUESTDBG_INJECT_BP), (1, lib.KVM_GUESTDBG_INJECT_DB)])
def test_the_guest_gets_its_own_debug_exceptions(machine, target, exception, inject):
    target.go(ALL)
    machine.threads[0].meets(exception=exception, pc=0x1234)
    target.stop()
    assert target.taken() is None
    target.go(ALL)
    assert [thread.injected for thread in machine.threads] == [inject, 0]
    target.go(ALL)
    assert machine.threads[0].injected == 0


@pytest.mark.parametrize("kind", [Kind.WRITE, Kind.ACCESS, Kind.READ])
def test_a_watchpoint_that_two_vcpus_meet_is_reported_twice(machine, target, kind):
    insert(target, kind, 0x1100)
    target.go(ALL)
    for thread in machine.threads:
        thread.meets(1)
    target.stop()
    met = Request(kind, 0x1100, 4, 0x1100)
    assert target.taken() == Stop(0, met=met)
    assert target.go({0: True}) is None
    machine.threads[0].meets(BS)
    assert target.taken() == Stop(0)


def test_a_second_stop_waits_until_its_vcpu_goes_on(machine, target):
    insert(target, Kind.WRITE, 0x1100)
    target.go(ALL)
    for thread in machine.threads:
        thread.meets(1)
    target.stop()
    target.taken()
    assert target.go(ALL) == Stop(1, met=Request(Kind.WRITE, 0x1100, 4, 0x1100))
    assert target.go(ALL) is None


def test_a_stop_at_a_breakpoint_that_was_removed_is_forgotten(machine, target):
    insert(target, Kind.WRITE, 0x1100)
    target.go(ALL)
    for thread in machine.threads:
        thread.meets(1)
    target.stop()
    target.taken()
    target.breakpoints.clear()
    assert target.go(ALL) is None


def test_a_step_is_reported_before_another_vcpus_breakpoint(machine, target):
    insert(target, Kind.HARDWARE, CODE)
    target.go({0: False, 1: True})
    machine.threads[0].meets(1)
    machine.threads[1].meets(BS)
    assert target.taken() == Stop(1)


def test_vcpus_without_an_action_are_held(machine, target):
    target.go({1: True})
    assert [thread.debug.held for thread in machine.threads] == [lib.DEBUG_HELD, lib.DEBUG_GOES]
    assert machine.threads[0].debug.asked == 0
    assert machine.threads[1].debug.asked == lib.KVM_GUESTDBG_SINGLESTEP | lib.KVM_GUESTDBG_BLOCKIRQ


@pytest.mark.parametrize("machine", [Machine(time=object()), Machine(extensions=1)], ids=["virtual time", "old host"])
def test_steps_that_take_interrupts(machine):
    target = MachineTarget(machine, str, str)
    target.go({0: True})
    assert machine.threads[0].debug.asked == lib.KVM_GUESTDBG_SINGLESTEP
    target.close()


def test_a_host_that_cannot_debug():
    with pytest.raises(HostError, match="KVM_CAP_SET_GUEST_DEBUG"):
        MachineTarget(Machine(extensions=0), str, str)


def test_int3_does_not_stay_if_the_guest_cannot_go_on(machine, target):
    insert(target, Kind.SOFTWARE, *range(CODE, CODE + 5))
    code = machine.memory.read(CODE, 5)
    machine.threads[1].fails = True
    with pytest.raises(KvmError):
        target.go(ALL)
    assert machine.memory.read(CODE, 5) == code


def test_leaving_removes_all(machine, target):
    insert(target, Kind.SOFTWARE, *range(CODE, CODE + 5))
    target.leave()
    assert [thread.registers for thread in machine.threads] == [(0,) * 8] * 2
    assert {(thread.debug.asked, thread.debug.held) for thread in machine.threads} == {(0, lib.DEBUG_GOES)}


def test_memory_that_is_not_there(machine, target):
    end = len(machine.memory.bytes)
    assert target.read(0, end - 2, 8) == b"\xfe\xff"
    assert target.read(0, end, 8) == b""
    assert target.write(0, CODE, b"ab")
    assert not target.write(0, end - 1, b"ab")
    assert machine.memory.read(end - 1, 1) == b"\xff"
    assert target.code(0, end) is None
