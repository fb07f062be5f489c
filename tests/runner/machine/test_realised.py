"""What the host's processors must have for a plan."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from runner.kvm.errors import HostError
from runner.machine.realised import Realised
from runner.x86.cpuid import CpuidEntry
from vmspec.plan.calls import Slot
from vmspec.registers import cpuid as R

RAM = Slot(0, 0, 1 << 30, 0)


def check(bits, *mapped):
    """Check such slots on a host whose processors have so many bits; None: CPUID does not say."""
    entries = [] if bits is None else [CpuidEntry(R.ADDRESS_SIZES, 0, 0, 0x3000 | bits, 0, 0, 0)]
    plan = SimpleNamespace(slots=(RAM,), mapped=mapped)
    Realised._check_addresses(SimpleNamespace(cpuid=entries, _plan=plan))


@pytest.mark.parametrize("bits", [None, 36, 30])
def test_memory_within_the_addresses_is_fine(bits):
    check(bits)


def test_memory_past_the_addresses_is_named():
    with pytest.raises(HostError, match=r"have 29 bits of physical addresses: RAM ends at 0x40000000, past their end"):
        check(29)
    with pytest.raises(HostError, match=r"have 36 bits of physical addresses: /root\.img ends at 0x1000200000"):
        check(36, Slot(1, 1 << 36, 1 << 21, 0, Path("/root.img")))
