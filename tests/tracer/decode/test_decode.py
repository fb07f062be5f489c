"""Names of registers and meanings of their values, against the data sheets' own examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.decode import Decoder, decoded, leaf_name, msr_name, name, named, value
from tracer.decode.decoder import STATE_PORTS
from tracer.decode.mmio import VIRTIO, notified_queue
from tracer.decode.msr import MSRS
from tracer.decode.ports import PORTS
from vmspec import layout
from vmspec.registers import acpi
from vmspec.trace.record import DIRECTIONS, REASONS


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (("io", 0x3FD), "COM1 LSR"),
        (("io", 0x3F8, 1, "read"), "COM1 RBR"),
        (("io", 0x3F8, 1, "write"), "COM1 THR"),
        (("io", 0x2F8), "COM2 RBR/THR"),
        (("io", 0x2FA, 1, "write"), "COM2 FCR"),
        (("io", 0x20, 1, "write"), "PIC1 command"),
        (("io", 0xA1), "PIC2 IMR"),
        (("io", 0x42), "PIT counter 2"),
        (("io", 0x64, 1, "read"), "i8042 status"),
        (("io", 0x70), "CMOS index"),
        (("io", 0x80), "POST code"),
        (("io", 0xCF8, 4), "PCI config address"),
        (("io", 0xCF9), "reset control"),
        (("io", 0xCFE, 2), "PCI config data"),
        (("io", 0x3D4), "VGA CRTC index"),
        (("io", 0x3F6, 1, "write"), "IDE1 device control"),
        (("io", 0x3F2), "floppy DOR"),
        (("io", 0x378), "LPT1 data"),
        (("io", layout.ACPI_PORTS + acpi.PM1_CONTROL, 2), "ACPI PM1 control"),
        (("io", layout.ACPI_PORTS + acpi.RESET), "ACPI reset"),
        (("io", 0x402, 1, "write", "debug-port0"), "debug port"),
        (("io", 0x510, 1, "read", "pvpanic0"), "pvpanic events"),
        (("io", 0x3F8, 1, "write", "python0"), ""),
        (("io", 0x1234), ""),
        (("mmio", 0xFEE000B0, 4), "LAPIC EOI"),
        (("mmio", 0xFEC00010, 4), "IOAPIC data"),
        (("mmio", 0xFED000F0, 8), "HPET main counter"),
        (("mmio", 0xFED00108, 8), "HPET timer 0 comparator"),
        (("mmio", 0xD0000070, 4, "write", "virtio-blk0"), "virtio Status"),
        (("mmio", 0xD0000208, 4, "read", "web/virtio-net1"), "virtio DeviceID"),
        (("mmio", 0xD0000104, 4, "read", "virtio-blk7-0"), "virtio config +0x4"),
        (("mmio", 0xD0000102, 2, "read", "a/virtio-console0"), "virtio config rows"),
        (("mmio", 0xD0000070, 4, "write", "python0"), ""),
        (("mmio", 0xD0000104, 1, "read", "a/virtio-fs0"), "virtio config tag[4]"),
        (("mmio", 0xD0000124, 4, "read", "virtio-fs0"), "virtio config num_request_queues"),
        (("mmio", 0xD0000070, 4, "write", "a/vhost-user1"), "virtio Status"),
        (("mmio", 0xD0000104, 4, "read", "vhost-user0"), "virtio config +0x4"),
        (("mmio", 0xE0008014, 1, "write", "virtio-blk0"), "virtio device_status"),
        (("mmio", 0xE0009000, 1, "read", "a/virtio-blk0"), "virtio isr"),
        (("mmio", 0xE000A004, 4, "read", "virtio-blk0"), "virtio config capacity high"),
        (("mmio", 0xEFFFB008, 2, "write", "virtio-net1"), "virtio notify"),
        (("mmio", 0xE000C014, 4, "write", "virtio-blk0"), "virtio MSI-X vector 1 address, high"),
        (("mmio", 0xE000C01C, 4, "write", "virtio-blk0"), "virtio MSI-X vector 1 control"),
        (("mmio", 0xE000D000, 8, "read", "virtio-blk0"), "virtio MSI-X pending bits"),
        (("mmio", 0xE000003E, 2, "read", "virtio-blk0"), "virtio +0x3e"),
        (("mmio", 0xDFF08004, 2, "write", "pci-host0"), "PCI 00:01.0 command"),
        (("mmio", 0xDFF08050, 1, "read", "pci-host0"), "PCI 00:01.0 +0x50"),
        (("mmio", 0xE0008004, 2, "write", "pci-host0"), "PCI 00:01.0 command"),
        (("mmio", 0xE0000060, 4, "read", "pci-host0"), "PCI 00:00.0 PCIEXBAR"),
        (("mmio", 0xE0000096, 1, "read", "pci-host0"), "PCI 00:00.0 PAM6"),
        (("mmio", 0xE00F8040, 4, "read", "pci-host0"), "PCI 00:1f.0 PMBASE"),
        (("mmio", 0xE00F806B, 1, "write", "pci-host0"), "PCI 00:1f.0 PIRQH"),
        (("io", 0x608, 4, "read", "lpc0"), "ACPI timer"),
        (("mmio", 0xFFC00123, 1, "write", "flash0"), "flash command or data"),
        (("mmio", 0xFFC00123, 1, "read", "flash0"), "flash status"),
        (("mmio", 0x80008014, 1, "write", "virtio-blk0"), "virtio device_status"),
        (("rdmsr", 0x1B), "IA32_APIC_BASE"),
        (("wrmsr", 0xC0000080), "IA32_EFER"),
        (("rdmsr", 0xC0010015), "HWCR"),
        (("rdmsr", 0x12345678), "MSR 0x12345678"),
        (("hlt", 0), "halted"),
    ],
)
def test_names(access, expected):
    assert name(*access) == expected


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (("io", 0x3FD, 0x60), "THRE|TEMT"),
        (("io", 0x3FD, 0x61), "DR|THRE|TEMT"),
        (("io", 0x3FB, 0x03), "8n1"),
        (("io", 0x3FB, 0x9F), "8e2 DLAB"),
        (("io", 0x3F9, 0x05), "ERBFI|ELSI"),
        (("io", 0x3FA, 0xC1), "no interrupt|FIFO"),
        (("io", 0x3FA, 0xC7, 1, "write"), "enable|clear RX|clear TX|trigger 14"),
        (("io", 0x3F8, 0x0A, 1, "write"), "'\\n'"),
        (("io", 0x3F8, 0x1B, 1, "write"), "'\\x1b'"),
        (("io", 0x20, 0x20, 1, "write"), "OCW2 EOI"),
        (("io", 0xA0, 0x62, 1, "write"), "OCW2 EOI of 2"),
        (("io", 0x20, 0x0B, 1, "write"), "OCW3 read ISR"),
        (("io", 0x20, 0x11, 1, "write"), "ICW1 ICW4 follows"),
        (("io", 0x21, 0xFB, 1, "write"), "IRQ0|IRQ1|IRQ3|IRQ4|IRQ5|IRQ6|IRQ7"),
        (("io", 0x43, 0x34, 1, "write"), "counter 0, low, high byte, mode 2"),
        (("io", 0x43, 0xB0, 1, "write"), "counter 2, low, high byte, mode 0"),
        (("io", 0x43, 0x00, 1, "write"), "counter 0 latch"),
        (("io", 0x43, 0xC2, 1, "write"), "read back count and status of 0"),
        (("io", 0x64, 0xFE, 1, "write"), "pulse reset line"),
        (("io", 0x64, 0x1D), "OBF|SYS|A2|INH"),
        (("io", 0x70, 0x8F, 1, "write"), "shutdown status, NMI off"),
        (("io", 0xCF8, 0x8000F804, 4, "write"), "00:1f.0+04"),
        (("io", 0xCF8, 0, 4, "write"), "00:00.0+00, disabled"),
        (("io", layout.ACPI_PORTS + acpi.PM1_CONTROL, 0x3401, 2, "write"), "SCI_EN|SLP_TYP=5|SLP_EN"),
        (("io", layout.ACPI_PORTS + acpi.PM1_ENABLE, 0x4120, 2, "write"), "GBL|PWRBTN|PCIEXP_WAKE_DIS"),
        (("io", layout.ACPI_PORTS + acpi.RESET, 1, 1, "write"), "reset"),
        (("io", 0xF4, 0x10, 4, "write", "debug-exit0"), "status 33"),
        (("io", 0x510, 0x4019, 2, "write", "fw-cfg0"), "files"),
        (("io", 0x510, 0x22, 2, "write", "fw-cfg0"), "file 2"),
        (("io", 0x510, 0x7000, 2, "write", "fw-cfg0"), "file 12256"),
        (("io", 0x510, 0x8003, 2, "write", "fw-cfg0"), ""),
        (("io", 0x518, 0x00100000, 4, "write", "fw-cfg0"), "0x1000"),
        (("io", 0x514, 0x554D4551, 4, "read", "fw-cfg0"), ""),
        (("io", 0x510, 0x03, 1, "write", "pvpanic0"), "PANICKED|CRASHLOADED"),  # at a port of the user's choice
        (("io", 0x505, 0x07, 1, "read", "a/pvpanic0"), "PANICKED|CRASHLOADED|SHUTDOWN"),
        (("io", 0x3FC, 0x0B, 2, "write"), ""),  # also the LSR's byte: not the MCR's value
        (("mmio", 0xFEE00300, 0x000C4500, 4, "write"), "INIT|assert|all but self"),
        (("mmio", 0xD0000070, 0x0F, 4, "write", "virtio-blk0"), "ACKNOWLEDGE|DRIVER|DRIVER_OK|FEATURES_OK"),
        (("mmio", 0xD0000000, 0x74726976, 4, "read", "virtio-blk0"), "'virt'"),
        (("mmio", 0xD0000050, 1, 4, "write", "virtio-net0"), "queue 1"),
        (("mmio", 0xD0000102, ord("a"), 1, "read", "virtio-fs0"), "'a'"),
        (("mmio", 0xE0008014, 0x0F, 1, "write", "virtio-blk0"), "ACKNOWLEDGE|DRIVER|DRIVER_OK|FEATURES_OK"),
        (("mmio", 0xE0009000, 3, 1, "read", "virtio-blk0"), "used buffer|configuration change"),
        (("mmio", 0xE000801A, 0xFFFF, 2, "read", "virtio-blk0"), "no vector"),
        (("mmio", 0xE000801A, 1, 2, "write", "virtio-blk0"), "vector 1"),
        (("mmio", 0xE000B004, 1, 2, "write", "virtio-blk0"), "queue 1"),
        (("mmio", 0xE000C01C, 1, 4, "write", "virtio-blk0"), "masked"),
        (("mmio", 0xDFF08004, 0x406, 2, "write", "pci-host0"), "memory|bus master|INTx off"),
        (("mmio", 0xDFF08042, 0xC001, 2, "write", "pci-host0"), "last vector=1|masked|enabled"),
        (("mmio", 0xFFC00123, 0x10, 1, "write", "flash0"), "program"),
        (("mmio", 0xFFC00123, 0x20, 1, "write", "flash0"), "erase"),
        (("mmio", 0xFFC00123, 0x11, 1, "write", "flash0"), ""),
        (("mmio", 0xFFC00123, 0x90, 1, "read", "flash0"), "ready|program error"),
        (("mmio", 0xE00F8061, 0x8A, 1, "write", "pci-host0"), "IRQ=0xa|off"),
        (("wrmsr", 0xC0000080, 0xD01, 8, "write"), "SCE|LME|LMA|NXE"),
        (("rdmsr", 0x1B, 0xFEE00900, 8, "read"), "BSP|enabled|page=0xfee00"),
        (("rdmsr", 0x2FF, 0xC06, 8, "read"), "WB|fixed|enabled"),
    ],
)
def test_values(access, expected):
    assert value(*access) == expected


def told(*accesses):
    decoder = Decoder()
    return [decoder.decode(reason, addr, size, direction, data) for reason, addr, size, direction, data in accesses]


def test_the_divisor_latch():
    names = told(
        ("io", 0x3FB, 1, "write", 0x83),
        ("io", 0x3F8, 1, "write", 1),
        ("io", 0x3F9, 1, "write", 0),
        ("io", 0x2F8, 1, "write", 0x41),  # another port's data
        ("io", 0x3FB, 1, "write", 0x03),
        ("io", 0x3F8, 1, "write", 0x41),
    )
    assert [what for what, _ in names] == ["COM1 LCR", "COM1 DLL", "COM1 DLM", "COM2 THR", "COM1 LCR", "COM1 THR"]


def test_the_cmos_register_that_was_selected():
    assert told(("io", 0x70, 1, "write", 0x8B), ("io", 0x71, 1, "read", 0x02))[1] == ("CMOS register B", "BCD|24 h")
    assert told(("io", 0x71, 1, "read", 0x02)) == [("CMOS data", "")]


def test_the_pci_function_that_was_selected():
    names = told(("io", 0xCF8, 4, "write", 0x80001808), ("io", 0xCFE, 2, "read", 0x0600))
    assert names[1][0] == "PCI 00:03.0 class code"
    names = told(("io", 0xCF8, 4, "write", 0x80000804), ("io", 0xCFC, 2, "write", 6))
    assert names[1] == ("PCI 00:01.0 command", "memory|bus master")


def test_what_a_keyboard_controller_is_told():
    names = told(
        ("io", 0x64, 1, "write", 0x20),
        ("io", 0x60, 1, "read", 0x65),
        ("io", 0x64, 1, "write", 0x60),
        ("io", 0x60, 1, "write", 0x74),
        ("io", 0x60, 1, "write", 0xF2),
        ("io", 0x60, 1, "read", 0xFA),
        ("io", 0x64, 1, "write", 0xD4),
        ("io", 0x60, 1, "write", 0xF2),
    )
    assert names[1:6] == [
        ("i8042 command byte", "IRQ1|SYS|aux off|translate"),
        ("i8042 command", "write command byte"),
        ("i8042 command byte", "SYS|keyboard off|aux off|translate"),
        ("i8042 data", "identify"),
        ("i8042 data", "ACK"),
    ]
    assert names[7] == ("i8042 aux", "")


def test_the_words_that_set_up_an_interrupt_controller():
    names = told(
        ("io", 0xA0, 1, "write", 0x11),
        ("io", 0xA1, 1, "write", 0x38),
        ("io", 0xA1, 1, "write", 0x02),
        ("io", 0xA1, 1, "write", 0x01),
        ("io", 0xA1, 1, "write", 0xFF),
    )
    assert [what for what, _ in names[1:]] == ["PIC2 ICW2", "PIC2 ICW3", "PIC2 ICW4", "PIC2 IMR"]
    assert [means for _, means in names[1:4]] == ["vectors from 0x38", "slave id 2", "8086"]


def test_the_io_apic_register_that_was_selected():
    names = told(("mmio", 0xFEC00000, 4, "write", 0x14), ("mmio", 0xFEC00010, 4, "write", 0x10030))
    assert names[1] == ("IOAPIC redirection 2 low", "vector=0x30|fixed|masked")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(REASONS),
            st.sampled_from([*PORTS, *STATE_PORTS, *MSRS, layout.LAPIC, layout.IOAPIC, 0xFED00000])
            | st.integers(0, 2**64 - 1),
            st.integers(0, 255),
            st.sampled_from(DIRECTIONS),
            st.integers(0, 255) | st.integers(0, 2**64 - 1),
            st.sampled_from(["", "-", "serial0", "a/virtio-blk0", "python0", "debug-exit0"]),
        ),
        max_size=8,
    )
)
def test_whatever_a_guest_does_has_words(accesses):
    decoder = Decoder()
    for access in accesses:
        for word in decoder.decode(*access):
            assert word.isprintable()


def test_all_registers_of_virtio_mmio_are_aligned_words():
    assert all(offset % 4 == 0 and register.size == 4 for offset, register in VIRTIO.items())


def test_cpuid_and_msr_names():
    assert leaf_name(0xD, 2) == "XSAVE state: AVX"
    assert leaf_name(0x4, 1) == "caches, 1"
    assert leaf_name(0x1, 7) == "version, features"  # what was left in ECX
    assert leaf_name(0x99) == "leaf 0x99"
    assert msr_name(0x401) == "IA32_MC0_STATUS"
    assert msr_name(0x26F) == "IA32_MTRR_FIX4K_F8000"
    assert len(MSRS) >= 150


def test_an_access_without_a_name_has_a_place():
    accesses = [
        (("io", 0x3FD), "COM1 LSR"),
        (("io", 0x3F8, 1, "write"), "COM1 THR"),
        (("io", 0x402, 1, "write", "debug-port0"), "debug port"),
        (("io", 0x511, 1, "write", "python0"), "python0 port 0x511"),
        (("io", 0x1234), "port 0x1234"),
        (("io", 0x1234, 1, "read", "-"), "port 0x1234"),
        (("mmio", 0xD0000104, 4, "read", "python0"), "python0 0xd0000104"),
        (("mmio", 0xD0000070, 2, "write", "virtio-blk0"), "virtio Status"),
        (("unknown", 77), "KVM exit 77"),
        (("other", 77), ""),
    ]
    assert [named(*access) for access, _ in accesses] == [text for _, text in accesses]


def test_rows_are_decoded_in_their_order():
    """The first item of each: of string I/O the rest of the data is none of its value."""
    keys = ("reason", "addr", "size", "direction", "data", "device")
    rows = [
        ("io", 0x3FB, 1, "write", 0x4183, "serial0"),
        ("io", 0x3F8, 1, "write", 0x430C, "serial0"),
        ("io", 0x3F8, 1, "write", 0x4341, "python0"),
        ("io", 0xCF8, 4, "write", 0x41_80000804, ""),
        ("wrmsr", 0xC0000080, 0, "write", 0x500, ""),
        ("wrmsr", 0xC0000080, 8, "write", 0x500, ""),
    ]
    assert decoded(dict(zip(keys, row, strict=True)) for row in rows) == [
        ("COM1 LCR", "8n1 DLAB"),
        ("COM1 DLL", "9600 baud if DLM is 0"),
        ("", ""),
        ("PCI config address", "00:01.0+04"),
        ("IA32_EFER", "LME|LMA"),
        ("IA32_EFER", "LME|LMA"),
    ]


@pytest.mark.parametrize(
    ("addr", "data", "queue"),
    [
        (0xD0000050, 3, 3),
        (0xD0000250, 0x1_0002, 2),
        (0xD0000054, 3, None),
        (0xE0003000, 9, 0),
        (0xE010B008, 9, 2),
        (0xE0003002, 9, None),
        (0xE0004000, 9, None),
        (0xE0000050, 9, None),
    ],
)
def test_a_notification_tells_of_a_queue_by_its_value_or_its_place(addr, data, queue):
    assert notified_queue(addr, data) == queue
