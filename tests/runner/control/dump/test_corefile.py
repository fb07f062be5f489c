"""The parts of a core file before the memory."""

import re
import subprocess

import pytest

from runner.control.dump.corefile import EXTENDED, HEADER, PAGE, PROGRAM, Segment, head
from runner.control.dump.writing import _parts
from runner.kvm.vcpu import REGISTERS, SEGMENTS, Registers
from runner.x86.state import Segment as SegmentRegister
from runner.x86.state import State


def registers(first):
    """Each general register with a value of its own."""
    general = {name: first + number for number, name in enumerate(REGISTERS)}
    segment = SegmentRegister(0x10, 0, 0xFFFF, 3)
    return Registers(general, State(general, dict.fromkeys(SEGMENTS, segment)), 0)


def test_readelf_reads_it(tmp_path):
    path = tmp_path / "core"
    data = head([registers(0x1000), registers(0x2000)], [Segment(0xFFFFFFFF81000000, 0x1000, 0x2000, 0x1000)], b"A=1")
    assert len(data) % PAGE == 0
    path.write_bytes(data + bytes(0x3000))
    text = subprocess.run(["readelf", "-hln", "-W", path], capture_output=True, text=True, check=True)
    assert text.stderr == ""
    assert "CORE (Core file)" in text.stdout
    assert text.stdout.count("NT_PRSTATUS (prstatus structure)") == 2
    assert re.search(r"VMCOREINFO\s+0x00000003\s", text.stdout)
    [load] = re.findall(r"LOAD +(.*)", text.stdout)
    assert load.split()[:5] == ["0x002000", "0xffffffff81000000", "0x0000000000001000", "0x002000", "0x002000"]


def test_more_segments_than_the_header_counts():
    segments = [Segment(at * PAGE, at * PAGE, PAGE, 0) for at in range(EXTENDED + 5)]
    data = head([registers(0)], segments)
    header = HEADER.unpack_from(data)
    assert header[10] == EXTENDED
    sections = header[6]
    assert sections == HEADER.size + PROGRAM.size * (len(segments) + 1)
    assert int.from_bytes(data[sections + 44 : sections + 48], "little") == len(segments) + 1  # sh_info


@pytest.mark.parametrize(
    ("mapping", "parts"),
    [
        ((0x10000, 0x0, 0x1000), [Segment(0x10000, 0x0, 0x1000, 0)]),
        ((0x10000, 0x3000, 0x2000), [Segment(0x10000, 0x3000, 0x1000, 0x3000)]),
        (
            (0x10000, 0x3000, 0x10000),
            [Segment(0x10000, 0x3000, 0x1000, 0x3000), Segment(0x15000, 0x8000, 0x2000, 0x4000)],
        ),
        ((0x10000, 0x4000, 0x1000), []),
        ((0x10000, 0x9000, 0x8000), [Segment(0x10000, 0x9000, 0x1000, 0x5000)]),
    ],
)
def test_a_mapping_has_only_what_is_memory(mapping, parts):
    places = [(0, 0x4000, 0), (0x8000, 0x2000, 0x4000)]
    assert list(_parts(*mapping, places)) == parts
