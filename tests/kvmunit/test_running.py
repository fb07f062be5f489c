"""Verdicts, and the whole command on the host's KVM, with small guests that behave as unit tests."""

import json
from pathlib import Path

import pytest

from tests.kvmunit.__main__ import main
from tests.kvmunit.running import judged
from tests.vmspec.image import images
from tests.vmspec.image.multiboots import multiboot1

PASSED = b"PASS: one\r\nSUMMARY: 1 tests\r\n"
FAILED = b"PASS: one\nFAIL: two\nFAIL: three\nSUMMARY: 3 tests, 2 unexpected failures\n"


@pytest.mark.parametrize(
    ("status", "console", "verdict", "reason"),
    [
        (1, PASSED, "pass", "1 tests"),
        (1, b"", "pass", ""),
        (3, FAILED, "fail", "FAIL: two (and 1 more)"),
        (3, b"", "fail", "exit status 3"),
        (255, b"ABORT: no memory\n", "fail", "ABORT: no memory"),
        (77, b"SKIP: no PKU\nSUMMARY: 1 tests, 1 skipped\n", "skip", "SKIP: no PKU"),
        (77, b"enabling apic\r\nSVM not available\r\nSUMMARY: 0 tests\r\n", "skip", "SVM not available"),
        (3, b"SUMMARY: 9 tests\n" + b"more\n" * 5, "fail", "exit status 3"),  # not among the last lines
    ],
)
def test_the_verdict_on_an_exit_status(status, console, verdict, reason):
    assert judged("a", 1.0, status, console) == ("a", verdict, 1.0, reason)


LOAD = 0x100000
# Prints the module and the number of processors in fw_cfg. By the first letter of its argument it then spins, faults,
# tries pc-testdev, or ends with the number that it has.
GUEST = """
    mov $0x110000, %esp
    mov 24(%ebx), %eax
    mov (%eax), %esi
    mov 4(%eax), %edi
    mov 16(%ebx), %ebx
1:  mov (%esi), %al
    call print
    inc %esi
    cmp %edi, %esi
    jb 1b
    mov $0x510, %dx
    mov $5, %ax
    out %ax, %dx
    inc %dx
    in %dx, %al
    add $48, %al
    call print
2:  inc %ebx
    cmpb $32, (%ebx)
    jne 2b
    mov 1(%ebx), %al
    call print
    mov $10, %al
    call print
    mov 1(%ebx), %al
    cmp $0x73, %al
    je spin
    cmp $0x66, %al
    je fault
    cmp $0x64, %al
    je devices
    sub $48, %al
    movzx %al, %eax
    cmp $8, %eax
    jne end
    mov $38, %eax
end:
    mov $0xf4, %dx
    out %eax, %dx
    hlt
spin:
    jmp spin
fault:
    ud2
devices:
    mov $0x12345678, %eax
    out %eax, $0xe0
    in $0xe1, %al
    cmp $0x56, %al
    jne bad
    mov %eax, 0xff000ff8
    cmp %eax, 0xff000ff8
    jne bad
    movl $7, 0x200000
    mov $0x200abc, %eax
    out %eax, $0xe4
    cmpl $7, 0x200000
    jne bad
    mov $0x80000000, %eax
    out %eax, $0xe4
    mov $0x20, %al
    out %al, $0x20
    mov $0x200e, %dx
    mov $1, %al
    out %al, %dx
    mov $0x0a, %al
    out %al, $0xa0
    in $0xa0, %al
    test $0x40, %al
    jz bad
    mov $0x200e, %dx
    xor %eax, %eax
    out %al, %dx
    jmp end
bad:
    mov $2, %eax
    jmp end
print:
    mov $0x3f8, %dx
    out %al, %dx
    ret
"""
CONFIG = """
[passes]
file = guest.flat
smp = 2
test_args = 0
[fails]
file = guest.flat
test_args = 1
[skips]
file = guest.flat
test_args = 8
[spins]
file = guest.flat
test_args = spin
timeout = 1
[faults]
file = guest.flat
test_args = fault
[devices]
file = guest.flat
test_args = devices
groups = devices
[other]
file = guest.flat
test_args = 0
arch = i386
[edu]
file = guest.flat
qemu_params = -device edu
"""


@pytest.fixture
def tree(assemble, tmp_path):
    """A tree of such guests."""
    folder = tmp_path / "tree"
    (folder / "x86").mkdir(parents=True)
    (folder / "config.mak").write_text("ARCH=x86_64\nENVIRON_DEFAULT=yes\n")
    (folder / "x86" / "unittests.cfg").write_text(CONFIG)
    image = images.elf32((LOAD, LOAD, assemble(GUEST, bits=32, origin=LOAD), 0x3000))
    (folder / "x86" / "guest.flat").write_bytes(image + bytes(-len(image) % 4) + multiboot1())
    return folder


def verdicts(path: Path) -> dict[str, tuple[str, str]]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert {record["vmm"] for record in records} == {"vmrun"}
    return {record["name"]: (record["verdict"], record["reason"]) for record in records}


@pytest.mark.kvm
def test_each_test_of_a_tree_has_its_verdict(tree, tmp_path, capsys):
    keep, found = tmp_path / "kept", tmp_path / "found.json"
    assert main([str(tree), "--keep", str(keep), "--json", str(found)]) == 1
    results = verdicts(found)
    assert {name: verdict for name, (verdict, _) in results.items()} == {
        "passes": "pass", "fails": "fail", "skips": "skip", "spins": "timeout", "faults": "fail", "devices": "pass",
        "other": "skip", "edu": "skip",
    }  # fmt: skip
    assert results["faults"][1].startswith("triple-fault: ")
    assert results["other"][1] == "i386 only"
    assert results["edu"][1] == "-device edu: vmrun has no such device"
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "vmrun: 2 pass, 2 fail, 3 skip, 1 timeout"
    console = (keep / "passes" / "console.txt").read_text()
    assert console.startswith("KERNEL_VERSION_STRING=")
    assert console.endswith("\n20\n")  # two processors, and the argument
    assert (keep / "passes" / "test.toml").is_file()


@pytest.mark.kvm
def test_a_choice_of_tests_is_compared_with_another_run(tree, tmp_path, capsys):
    found = tmp_path / "found.json"
    there = {"vmm": "qemu", "verdict": "fail", "seconds": 1.0, "reason": "FAIL: one"}
    found.write_text("".join(json.dumps({"name": name, **there}) + "\n" for name in ("passes", "fails")))
    assert main([str(tree), "--only", "pass*", "--compare", str(found)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "passes: pass (), there fail (FAIL: one)"
    assert main([str(tree), "--group", "devices"]) == 0


def test_what_is_wrong_with_the_command_line_is_said(tree, tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert main([str(tree), "--only", "absent"]) == 2
    (tmp_path / "other.json").write_text("{}\n")
    assert main([str(tree), "--compare", str(tmp_path / "other.json")]) == 2
    no_tree, no_test, no_json = capsys.readouterr().err.splitlines()
    assert "has no config.mak" in no_tree
    assert "has no test absent" in no_test
    assert "is not what --json writes" in no_json
