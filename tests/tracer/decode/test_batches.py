"""Columns decoded a batch at a time, beside rows decoded one by one."""

import pytest

import tracer
from tests.fakes.tracefakes import exit_, record_all
from tracer.decode import decoded
from tracer.decode.batches import Describer, pieces
from tracer.format.vocabulary import DERIVED
from vmspec.trace.record import FLAGS

READ = {"direction": "read"}
# What selects, and what depends on it: the divisor latch, the CMOS index, the controller's command, a PCI address.
EXITS = [
    exit_(1000, 1100, addr=0x3FB, data=b"\x83"),
    exit_(2000, 2200, data=b"\x0c"),
    exit_(3000, 3300, addr=0x3FB, data=b"\x03"),
    exit_(4000, 4400, data=b"A"),
    exit_(5000, 5500, addr=0x70, data=b"\x0b", device="rtc0"),
    exit_(6000, 6600, addr=0x71, data=b"\x02", device="rtc0", **READ),
    exit_(7000, 7700, addr=0x64, data=b"\x20", device=None),
    exit_(8000, 8800, addr=0x60, data=b"\x65", device=None, flags=0, **READ),
    exit_(9000, 9900, addr=0xCF8, data=b"\x04\x08\x00\x80", size=4, device=None),
    exit_(10_000, 11_000, addr=0xCFC, data=b"\xff\xff", size=2, device=None, flags=FLAGS["UNCLAIMED"], **READ),
    exit_(12_000, 12_100, addr=0x1234, data=b"abc", size=1, device=None),
    exit_(13_000, 13_100, addr=0, data=b"", size=0, reason="hlt", direction="none", device=None),
]


@pytest.fixture
def batch(tmp_path):
    """The exits as a batch."""

    def made(*records):
        record_all(tmp_path / "boot.arrow", list(records))
        [batch] = tracer.load(tmp_path / "boot.arrow").table.combine_chunks().to_batches()
        return batch

    return made


@pytest.mark.parametrize("cut", range(len(EXITS) + 1))
def test_batches_are_decoded_as_rows_one_by_one(batch, cut):
    whole, describer = batch(EXITS), Describer()
    found = [row for part in (whole.slice(0, cut), whole.slice(cut)) for row in describer.described(part).to_pylist()]
    rows = decoded(whole.to_pylist())
    shown = [(row["what"], row["meaning"]) for row in found]
    assert shown[:9] == rows[:9]
    assert shown[9:] == [("PCI 00:01.0 command", ""), ("port 0x1234", ""), ("halted", "")]
    assert [row["rw"] for row in found] == ["w", "w", "w", "w", "w", "r", "w", "r", "w", "r", "w", ""]
    assert [row["handling_ns"] for row in found] == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 100, 100]
    assert [row["value"] for row in found[3:]] == [
        "0x41 'A'", "0x0b register B", "0x02 BCD|24 h", "0x20 read command byte", "0x65 IRQ1|SYS|aux off|translate",
        "0x80000804 00:01.0+04", "0xffff", "3 x 1: 616263", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "meaning"),
    [
        (exit_(1000, data=b"ABC"), "'A'"),  # of a string its first item
        (exit_(1000, addr=0x3FD, data=b"\x61", **READ), "DR|THRE|TEMT"),
        (exit_(1000, addr=0x3FD, data=b"\xff", device=None, **READ), ""),  # nothing answered
        (exit_(1000, addr=0x3FB, data=b"\x03", device=None), "8n1"),  # nothing took it
        (
            exit_(1000, addr=0xC0000080, data=bytes((1, 5)) + bytes(6), size=8, reason="wrmsr", device=None),
            "SCE|LME|LMA",
        ),
    ],
)
def test_the_meaning_is_that_of_what_was_moved(batch, record, meaning):
    assert Describer().described(batch([record]))["meaning"].to_pylist() == [meaning]


@pytest.mark.parametrize("name", [column.name for column in DERIVED])
def test_each_column_can_be_made_alone(batch, name):
    whole = batch(EXITS)
    alone = Describer().columns(whole, [name])
    assert list(alone) == [name]
    assert alone[name].to_pylist() == Describer().described(whole)[name].to_pylist()


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([1, 1, 1], [3]),
        ([1, 1, 1, 1], [2, 2]),
        ([1, 1, 1, 1, 1], [2, 3]),
        ([1] * 7, [3, 2, 2]),
        ([20, 20], [2]),  # as many bytes as there may be
        ([20, 21], [1, 1]),
        ([50, 1], [1, 1]),  # a row is not cut
        ([9, 40], [1, 1]),
    ],
)
def test_batches_are_cut_by_rows_and_by_payload(batch, monkeypatch, lengths, sizes):
    """Of exits that move at most 8 bytes there is no payload."""
    monkeypatch.setattr("tracer.decode.batches.ROWS", 3)
    monkeypatch.setattr("tracer.decode.batches.PAYLOAD", 40)
    whole = batch([exit_(1000 * at, data=b"x" * length) for at, length in enumerate(lengths)])
    found = list(pieces(whole))
    assert [piece.num_rows for piece in found] == sizes
    assert [row for piece in found for row in piece.to_pylist()] == whole.to_pylist()
    without = [piece.num_rows for piece in pieces(whole.select(["t_exit"]))]
    assert without == (sizes if len(lengths) > 3 else [len(lengths)])


def test_machines_select_for_themselves_alone(batch):
    latch, data = exit_(1000, addr=0x3FB, data=b"\x83"), exit_(3000, data=b"A")
    whole = batch([latch, data], [exit_(2000, data=b"B"), exit_(4000, data=b"C")])
    for machines, what in (({0: "a", 1: "b"}, "THR"), ({0: "a", 1: "a"}, "DLL"), (None, "DLL")):
        found = Describer(machines).described(whole)["what"].to_pylist()
        assert found == ["COM1 LCR", f"COM1 {what}", "COM1 DLL", f"COM1 {what}"]
