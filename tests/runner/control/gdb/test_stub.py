"""Packets and their answers, with a target that is no machine."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.control.gdb.breakpoints import Kind, Request
from runner.control.gdb.packets import LONGEST
from runner.control.gdb.resuming import Back, Resume
from runner.control.gdb.stub import Output, Over, Stub
from runner.control.gdb.target import SIGINT, Stop


@pytest.fixture
def target(make_target):
    return make_target()


@pytest.fixture
def stub(target):
    return Stub(target, attached=True)


def error(answer):
    assert answer.startswith(b"E."), answer
    return answer[2:].decode()


def test_what_is_supported(stub):
    answer = stub.answer(b"qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386")
    assert b"PacketSize=4000" in answer
    assert b"qXfer:features:read+" in answer
    assert b"Reverse" not in answer


def test_a_target_that_can_go_back(stub, target):
    assert (stub.answer(b"bs"), stub.answer(b"bc")) == (b"", b"")
    target.reversible = True
    assert stub.answer(b"qSupported:").endswith(b";ReverseStep+;ReverseContinue+")
    assert (stub.answer(b"bs"), stub.answer(b"bc"), stub.answer(b"bx")) == (Back(True), Back(False), b"")


@pytest.mark.parametrize(
    "packet", [b"", b"!", b"vRun;a", b"qCRC:0,1", b"qXfer:auxv:read::0,1", b"\xff", b"vMustReplyEmpty"]
)
def test_unknown_packets_have_an_empty_answer(stub, packet):
    assert stub.answer(packet) == b""


@pytest.mark.parametrize("wide", [True, False])
def test_the_description_comes_in_parts(make_target, wide):
    stub, text, more = Stub(make_target(wide=wide), attached=True), b"", b"m"
    while more == b"m":
        part = stub.answer(b"qXfer:features:read:target.xml:%x,100" % len(text))
        more, text = part[:1], text + part[1:]
    tree = ET.fromstring(text)
    assert tree.findtext("architecture") == ("i386:x86-64" if wide else "i386")
    found = [(each.get("name"), int(each.get("bitsize"))) for each in tree.iter("reg")]
    assert found == [(register.name, register.bits) for register in stub._target.registers]
    known = {each.get("id") for each in tree.iter() if each.get("id")}
    built_in = {"int", "int32", "int64", "code_ptr", "data_ptr", "i387_ext"}
    assert {each.get("type") for each in tree.iter("reg")} - built_in <= known


def test_registers_are_read_in_the_order_of_the_description(stub, target):
    target.values[0] |= {"rax": 0x1122334455667788, "cs": 0x10}
    answer = stub.answer(b"g")
    assert answer.startswith(b"8877665544332211" + b"0" * 16)
    assert len(answer) == 2 * sum(register.bits // 8 for register in target.registers)
    number = [register.name for register in target.registers].index("cs")
    assert stub.answer(b"p%x" % number) == b"10000000"
    orig = [register.name for register in target.registers].index("orig_rax")
    assert stub.answer(b"p%x" % orig) == b"f" * 16


def test_registers_are_written(stub, target):
    assert stub.answer(b"P0=" + b"01" * 8) == b"OK"
    assert target.values[0] == {"rax": 0x0101010101010101}
    before = stub.answer(b"g")
    assert stub.answer(b"G" + before) == b"OK"
    assert stub.answer(b"g") == before
    assert stub.answer(b"G" + b"02" * 16) == b"OK"  # fewer than there are
    assert (target.values[0]["rax"], target.values[0]["rbx"]) == (0x0202020202020202, 0x0202020202020202)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b"p", "not a number"),
        (b"p1000", "no register 4096"),
        (b"P0=01", "rax has 8 bytes"),
        (b"P0", "'=' is missing"),
        (b"P0=0g" + b"00" * 7, "not bytes in hexadecimal"),
        (b"G" + b"00" * 9, "do not end with a register"),
        (b"m1000", "',' is missing"),
        (b"m1000,-1", "not a number"),
        (b"M1000,2:00", "2 bytes were announced, and 1 came"),
        (b"M0,1:00", "not memory that can be written: 1 bytes at 0x0"),
        (b"Mffffffffffffffff,1:00", "not memory that can be written"),
        (b"X1000,1", "':' is missing"),
        (b"Z0,1000", "a kind, an address and a size"),
        (b"Z0,x,1", "not a number"),
        (b"Hg9", "no thread 9"),
        (b"Hx1", "for g or for c"),
        (b"T3", "no thread 3: the machine has 2"),
        (b"c1000", "set the instruction pointer first"),
        (b"vCont;t:1", "not an action"),
        (b"vCont;c:9", "no thread 9"),
        (b"m" + b"f" * 17 + b",1", "64 bits"),
    ],
)
def test_packets_that_are_not_as_they_should_be(stub, packet, message):
    assert message in error(stub.answer(packet))


def test_memory_is_read_as_far_as_it_goes(stub):
    assert stub.answer(b"m1001,4") == b"01020304"
    assert stub.answer(b"m1fff,8") == b"ff"
    assert stub.answer(b"m2000,1") == b"E14"
    assert len(stub.answer(b"m1000,ffffffffffffffff")) <= LONGEST


def test_memory_is_written(stub, target):
    assert stub.answer(b"M1000,2:a1a2") == b"OK"
    assert stub.answer(b"X1002,2:#}") == b"OK"
    assert stub.answer(b"X1000,0:") == b"OK"
    assert target.memory[:5] == b"\xa1\xa2#}\x04"


def test_breakpoints(stub, target):
    assert stub.answer(b"Z0,1000,1;X1,0") == b"OK"
    assert stub.answer(b"Z2,1000,4") == b"OK"
    assert [point.request for point in target.breakpoints.points] == [
        Request(Kind.WRITE, 0x1000, 4),
        Request(Kind.SOFTWARE, 0x1000, 1, 0x1000),
    ]
    assert stub.answer(b"z2,1000,4") == b"OK"
    assert stub.answer(b"z0,1000,1") == b"OK"
    assert target.breakpoints.points == []
    assert stub.answer(b"Z5,1000,1") == b""
    assert "more than debug registers watch" in error(stub.answer(b"Z2,1000,100"))


def test_threads_are_vcpus(stub, target):
    assert stub.answer(b"qfThreadInfo") == b"m1,2"
    assert stub.answer(b"qsThreadInfo") == b"l"
    assert bytes.fromhex(stub.answer(b"qThreadExtraInfo,2").decode()) == b"vCPU 1"
    assert stub.answer(b"T2") == b"OK"
    target.values[1]["rax"] = 1
    assert [stub.answer(packet) for packet in (b"Hg2", b"p0", b"qC", b"Hg0", b"p0", b"Hg-1", b"Hc-1")] == [
        b"OK", b"01" + b"00" * 7, b"QC2", b"OK", b"01" + b"00" * 7, b"OK", b"OK",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "actions"),
    [
        (b"vCont;c", {0: False, 1: False}),
        (b"vCont;s:2;c", {0: False, 1: True}),
        (b"vCont;s:1", {0: True}),
        (b"vCont;C05:-1", {0: False, 1: False}),
        (b"vCont;S05:1;c:1", {0: True}),
        (b"c", {0: False, 1: False}),
        (b"C05", {0: False, 1: False}),
        (b"s", {0: True}),
        (b"S05", {0: True}),
    ],
)
def test_vcpus_go_on(stub, packet, actions):
    assert stub.answer(packet) == Resume(actions)


def test_h_chooses_whom_s_means(stub):
    stub.answer(b"Hc2")
    assert stub.answer(b"s") == Resume({1: True})


@pytest.mark.parametrize(
    ("stop", "packet"),
    [
        (Stop(0), b"T05thread:1;"),
        (Stop(1, SIGINT), b"T02thread:2;"),
        (Stop(1, met=Request(Kind.SOFTWARE, 0x1000, 1)), b"T05swbreak:;thread:2;"),
        (Stop(0, met=Request(Kind.HARDWARE, 0x1000, 1)), b"T05hwbreak:;thread:1;"),
        (Stop(0, met=Request(Kind.WRITE, 0x1000, 1)), b"T05watch:1000;thread:1;"),
        (Stop(0, met=Request(Kind.READ, 0x1000, 1)), b"T05rwatch:1000;thread:1;"),
        (Stop(0, met=Request(Kind.ACCESS, 0x1000, 1)), b"T05awatch:1000;thread:1;"),
    ],
)
def test_a_stop_is_reported_and_its_vcpu_is_meant(stub, stop, packet):
    stub.answer(b"qSupported:swbreak+;hwbreak+")
    assert stub.stopped(stop) == packet
    assert stub.answer(b"?") == packet
    assert stub.answer(b"qC") == b"QC%x" % (stop.vcpu + 1)


def test_a_client_that_knows_no_kinds_of_breakpoints_is_told_none(stub):
    assert stub.stopped(Stop(0, met=Request(Kind.SOFTWARE, 0x1000, 1))) == b"T05thread:1;"


def test_the_end(make_target, stub):
    assert [stub.answer(packet) for packet in (b"D", b"k", b"vKill;1", b"qAttached")] == [
        Over.DETACH, Over.KILL, Over.KILL, b"1",
    ]  # fmt: skip
    assert Stub(make_target(), attached=False).answer(b"qAttached") == b"0"


def test_commands_of_the_user(stub, target):
    answer = stub.answer(b"qRcmd," + b"inspect".hex().encode())
    assert (answer, target.commands) == (Output(b"inspect" * 3), ["inspect"])
    assert list(answer.packets()) == [b"O" + (b"inspect" * 3).hex().encode(), b"OK"]
    long = Output(b"a" * 3 * LONGEST)
    assert all(len(packet) <= LONGEST for packet in long.packets())
    assert b"".join(bytes.fromhex(each[1:].decode()) for each in list(long.packets())[:-1]) == long.text
    assert list(stub.answer(b"qRcmd," + b"silent".hex().encode()).packets()) == [b"OK"]


def test_acknowledgements_end(stub):
    assert (stub.acknowledges, stub.answer(b"QStartNoAckMode"), stub.acknowledges) == (True, b"OK", False)


LETTERS = st.sampled_from(
    [
        *(bytes([letter]) for letter in b"gGpPmMXZzHTcsq"),
        b"vCont;",
        b"qXfer:features:read:target.xml:",
        b"qRcmd,",
        b"qThreadExtraInfo,",
    ]
)
PARTS = st.sampled_from(
    [b",", b":", b";", b"=", b"0", b"1", b"2", b"1000", b"f" * 16, b"-1", b"00", b"\x80", b"c", b"s"]
)


@given(st.lists(st.tuples(LETTERS, st.lists(PARTS, max_size=8).map(b"".join) | st.binary(max_size=40)), max_size=20))
def test_any_packets_are_answered(make_target, packets):
    stub = Stub(make_target(), attached=True)
    for letter, rest in packets:
        match stub.answer(letter + rest):
            case bytes(answer):
                assert len(answer) <= LONGEST
            case Resume(actions):
                assert set(actions) <= {0, 1}
                assert actions
            case answer:
                assert isinstance(answer, Output | Over)
