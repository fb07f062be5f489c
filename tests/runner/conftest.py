"""A vCPU loop without a vCPU: exits are described in a kvm_run page of the test's own, and no ioctl is made. And a
host that lacks what it has."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runner.kvm.system import System
from runner.native import _native
from runner.recording.rings import Rings

ffi, lib = _native.ffi, _native.lib

# Of struct kvm_run (linux/kvm.h): exit_reason, then the union with the exit's data.
EXIT_REASON, UNION = 8, 32
DATA = 4096  # where this page has the data of port exits, as KVM has
KVM_EXIT_IO, KVM_EXIT_HLT, KVM_EXIT_MMIO = 2, 5, 6


class Loop:
    """The C loop of one vCPU. Each exit method answers what the loop does with the exit: None where it goes on by
    itself, else the access that Python must answer; :meth:`go_on` then ends the exit as the next KVM_RUN would."""

    def __init__(self, bus: Any, ring: Any) -> None:
        self.page = bytearray(2 * 4096)
        self.vcpu = ffi.new("struct vcpu *")
        self.vcpu.fd = -1
        self.vcpu.run = ffi.cast("struct kvm_run *", ffi.from_buffer(self.page))
        self.vcpu.bus, self.vcpu.ring = bus, ring
        self.outcome = ffi.new("enum vcpu_outcome *")

    def io(self, port: int, size: int, data: bytes, write: bool) -> Any:
        fields = (port.to_bytes(2, "little"), (len(data) // size).to_bytes(4, "little"), DATA.to_bytes(8, "little"))
        self.page[UNION : UNION + 16] = bytes([write, size]) + b"".join(fields)
        self.page[DATA : DATA + len(data)] = data
        return self.exit(KVM_EXIT_IO)

    def mmio(self, address: int, data: bytes, write: bool) -> Any:
        fields = (address.to_bytes(8, "little"), data.ljust(8, b"\0"), len(data).to_bytes(4, "little"), bytes([write]))
        self.page[UNION : UNION + 21] = b"".join(fields)
        return self.exit(KVM_EXIT_MMIO)

    def exit(self, reason: int) -> Any:
        self.page[EXIT_REASON : EXIT_REASON + 4] = reason.to_bytes(4, "little")
        if lib.vcpu_handle(self.vcpu, self.outcome):
            return self.go_on()
        return self.vcpu.access if self.outcome[0] == lib.VCPU_ACCESS else None

    def go_on(self) -> Any:
        """The next part of the exit at hand that Python must answer, if there is one. Else its record is published;
        KVM_RUN then fails, as there is no vCPU."""
        if (outcome := lib.vcpu_run(self.vcpu)) == lib.VCPU_ACCESS:
            return self.vcpu.access
        assert outcome == lib.VCPU_FAILED
        return None

    def port_data(self, length: int) -> bytes:
        """What the guest would get from a port read."""
        return bytes(self.page[DATA : DATA + length])

    def mmio_data(self, length: int) -> bytes:
        """What the guest would get from an MMIO read."""
        return bytes(self.page[UNION + 8 : UNION + 8 + length])


@pytest.fixture(scope="session")
def make_loop() -> Callable[[Any, Any], Loop]:
    """Makes a :class:`Loop` from a C bus and a C ring."""
    return Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The loop of a machine with no device; ``loop.rings`` are the rings that it records into, of which it has one."""
    bus, rings = lib.bus_new(0, 0, -1), Rings(1, 64, "wait", None)
    rings.start(1_000_000)
    made = Loop(bus, rings.ring(0))
    made.rings = rings
    yield made
    lib.bus_free(bus)
    rings.close()


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the host lack a capability."""
    has = System.check_extension

    def lack(name: str) -> None:
        monkeypatch.setattr(System, "check_extension", lambda self, asked: 0 if asked == name else has(self, asked))

    return lack
