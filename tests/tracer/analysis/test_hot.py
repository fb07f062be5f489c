"""RIPs by name: from a symbol file, from the spec's own kernel, with and without KASLR."""

import hashlib
import json
import struct

import pytest

import tracer
from tests.fakes import tracefakes
from tests.fakes.tracefakes import exit_, record_all
from tracer.analysis.hot import collapsed, hot, schemas
from tracer.format.errors import TraceError
from vmspec.trace.record import FLAGS

TEXT = 0xFFFFFFFF81000000
MAP = f"{TEXT:x} T _text\n{TEXT + 0x100:x} T serial_out\n{TEXT + 0x200:x} T rtc_read\n{TEXT + 0x300:x} T _etext\n"
OUT, READ = TEXT + 0x104, TEXT + 0x208


def trace(tmp_path, rips, offset=0):
    """A trace with one exit at each RIP."""
    records = [
        exit_(1000 * at, 1000 * at + 100, rip=rip + offset if rip >= TEXT else rip, flags=FLAGS["RIP"])
        for at, rip in enumerate(rips)
    ]
    record_all(tmp_path / "boot.arrow", [records])
    return tracer.load(tmp_path / "boot.arrow")


@pytest.fixture
def system_map(tmp_path):
    (tmp_path / "System.map").write_text(MAP)
    return tmp_path / "System.map"


def named(found):
    return dict(zip(found.symbols["symbol"].to_pylist(), found.symbols["exits"].to_pylist(), strict=True))


def test_symbols_are_ranked(tmp_path, system_map):
    found = hot(trace(tmp_path, [OUT, OUT, READ, OUT + 8]), symbols=system_map)
    assert named(found) == {"serial_out": 3, "rtc_read": 1}
    places = zip(found.rips["place"].to_pylist(), found.rips["exits"].to_pylist(), strict=True)
    assert list(places) == [("serial_out+0x4", 2), ("rtc_read+0x8", 1), ("serial_out+0xc", 1)]


def test_a_rip_before_paging_is_the_kernels_too(tmp_path, system_map):
    assert named(hot(trace(tmp_path, [OUT - 0xFFFFFFFF80000000]), symbols=system_map)) == {"serial_out": 1}


def test_what_has_no_symbol_says_what_is_known(tmp_path, system_map):
    rips = [0, 0x7F0000001000, 0xFFFFFFFFC0001000, TEXT + 0x10000]
    found = hot(trace(tmp_path, rips), symbols=system_map, offset=0)
    assert set(named(found)) == {"[not known]", "[user]", "[module]", "[kernel]"}


def test_without_symbols_there_are_addresses(tmp_path):
    found = hot(trace(tmp_path, [OUT]))
    assert (named(found), found.source) == ({f"{OUT:#x}": 1}, "none; use --symbols FILE")


def test_a_given_offset_is_taken_off(tmp_path, system_map):
    found = hot(trace(tmp_path, [OUT], offset=0x1C000000), symbols=system_map, offset=0x1C000000)
    assert named(found) == {"serial_out": 1}


def kernel(path, rips):
    """A vmlinux with these symbols, in whose code each RIP has an instruction for a port."""
    code = bytearray(b"\x90" * 0x300)
    for at, rip in enumerate(rips):
        code[rip - TEXT : rip - TEXT + 2] = (b"\xee\x90", b"\x66\xed", b"\xe4\x64", b"\xec\x90")[at % 4]
    names = b"\0_text\0serial_out\0rtc_read\0_etext\0"
    symbols = bytes(24)
    for name, value in ((b"_text", 0), (b"serial_out", 0x100), (b"rtc_read", 0x200), (b"_etext", 0x300)):
        symbols += struct.pack("<IBBHQQ", names.index(b"\0" + name) + 1, 0, 0, 1, TEXT + value, 0)
    start = 64 + 56
    at = [start, start + len(code), start + len(code) + len(symbols)]
    table = at[2] + len(names)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1" + bytes(9), 2, 62, 1, 0x1000000, 64, table, 0, 64, 56, 1, 64, 3, 0
    )
    head += struct.pack("<IIQQQQQQ", 1, 7, start, TEXT, 0x1000000, len(code), len(code), 0x1000)
    sections = bytes(64)
    for kind, offset, size, link in ((2, at[1], len(symbols), 2), (3, at[2], len(names), 0)):
        sections += struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, offset, size, link, 0, 0, 0)
    path.write_bytes(head + code + symbols + names + sections)


RIPS = [OUT, READ, TEXT + 0x120, TEXT + 0x2F0, TEXT + 0x44]


@pytest.mark.parametrize("offset", [0, 0x2E00_0000])
def test_the_offset_is_found_by_the_code(tmp_path, offset):
    kernel(tmp_path / "vmlinux", RIPS)
    found = hot(trace(tmp_path, RIPS, offset), symbols=tmp_path / "vmlinux")
    assert named(found) == {"serial_out": 2, "rtc_read": 2, "_text": 1}
    assert ("KASLR" in found.source) == (offset != 0)


def test_another_kernel_does_not_fit_and_is_told(tmp_path):
    kernel(tmp_path / "vmlinux", RIPS)
    found = hot(trace(tmp_path, [*RIPS, TEXT + 0x60]), symbols=tmp_path / "vmlinux")
    assert "does not fit" in found.source


@pytest.mark.parametrize(("key", "name"), [("kernel", "kernel"), ("symbols", "symbol file")])
@pytest.mark.parametrize("same", [True, False])
def test_the_specs_own_file_serves_while_it_is_the_same(tmp_path, monkeypatch, same, key, name):
    path = tmp_path / "vmlinux"
    kernel(path, RIPS)
    digest = hashlib.sha256(path.read_bytes() if same else b"").hexdigest()
    metadata = {
        "vmrun.spec": f'[boot]\n{key} = "{path}"\n',
        "vmrun.images": json.dumps({key: {"path": str(path), "sha256": digest}}),
    }
    monkeypatch.setattr(tracefakes, "METADATA", tracefakes.METADATA | metadata)
    found = hot(trace(tmp_path, RIPS))
    assert ("serial_out" in named(found)) == same
    assert same or f"is not the {name} of the run" in found.source


def test_ranks_are_by_what_was_asked_for(tmp_path, system_map):
    records = [exit_(0, 500, rip=READ, flags=FLAGS["RIP"])]
    records += [exit_(1000 * at, rip=OUT, flags=FLAGS["RIP"]) for at in (1, 2)]
    record_all(tmp_path / "boot.arrow", [records])
    ranked = []
    for sort in ("exits", "handling_ns"):
        found = hot(tracer.load(tmp_path / "boot.arrow"), (), symbols=system_map, sort=sort)
        ranked.append((found.symbols["symbol"].to_pylist(), found.rips["place"].to_pylist()))
    assert ranked == [
        (["serial_out", "rtc_read"], ["serial_out+0x4", "rtc_read+0x8"]),
        (["rtc_read", "serial_out"], ["rtc_read+0x8", "serial_out+0x4"]),
    ]


def test_ranks_are_divided_by_device_unless_one_asks_for_other_keys(tmp_path, system_map):
    found = hot(trace(tmp_path, [OUT]), symbols=system_map)
    assert {"symbols": found.symbols.schema, "rips": found.rips.schema} == schemas(("device",)) == schemas()


def test_folded_stacks(tmp_path, system_map):
    found = hot(trace(tmp_path, [OUT, OUT, READ]), ("device", "reason"), symbols=system_map)
    assert list(collapsed(found.tally, ("device", "reason"))) == ["serial0;io;serial_out 2", "serial0;io;rtc_read 1"]
    assert next(collapsed(found.tally, ("reason",), "handling_ns")) == "io;serial_out 200"


def test_folded_stacks_are_ordered_by_their_weight(tmp_path, system_map):
    records = [exit_(0, 500, rip=READ, flags=FLAGS["RIP"])]
    records += [exit_(1000 * at, rip=OUT, flags=FLAGS["RIP"]) for at in (1, 2)]
    record_all(tmp_path / "boot.arrow", [records])
    tally = hot(tracer.load(tmp_path / "boot.arrow"), (), symbols=system_map).tally
    assert list(collapsed(tally, ())) == ["serial_out 2", "rtc_read 1"]
    assert list(collapsed(tally, (), "handling_ns")) == ["rtc_read 500", "serial_out 200"]


def test_a_frame_has_no_separator_in_it(tmp_path):
    (tmp_path / "System.map").write_text(f"{TEXT:x} T XX;out\n{TEXT + 0x300:x} T _etext\n")
    found = hot(trace(tmp_path, [0, OUT]), (), symbols=tmp_path / "System.map")
    assert set(collapsed(found.tally, ())) == {"XX_out 1", "[not_known] 1"}


def test_tables_have_the_schemas_that_are_told(tmp_path, system_map):
    found = hot(trace(tmp_path, [OUT]), ("reason",), symbols=system_map)
    assert {"symbols": found.symbols.schema, "rips": found.rips.schema} == schemas(("reason",))
    assert schemas(("reason",))["symbols"].names[:2] == ["symbol", "reason"]
    assert schemas(("reason",))["rips"].names[:3] == ["place", "rip", "reason"]


def test_without_exits_there_is_nothing_to_rank(tmp_path, system_map):
    found = hot(trace(tmp_path, []), symbols=system_map)
    assert (found.symbols.num_rows, found.rips.num_rows, list(collapsed(found.tally, ("device",)))) == (0, 0, [])
    assert {"symbols": found.symbols.schema, "rips": found.rips.schema} == schemas()


def test_a_file_without_symbols_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\x7fELF")
    with pytest.raises(TraceError, match=r"no symbols|truncated"):
        hot(trace(tmp_path, [OUT]), symbols=tmp_path / "x")
