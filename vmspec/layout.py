"""All fixed addresses of the guest-physical address space and the port bus, each with its reason.

Sizes are bytes. Below 1 MiB the map follows the PC's (Linux boot protocol, "memory layout"; ACPI 6.5, 5.2.5.1; Intel
MultiProcessor specification 1.4, 4). Above it is RAM, with the PC's hole under 4 GiB.
"""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
PAGE = 4 * KIB
HUGE_PAGE = 2 * MIB

# RAM below the hole ends at 3 GiB at most; the rest begins at 4 GiB. The hole holds everything else with a 32-bit
# address: the interrupt controllers, KVM's own pages, devices' registers.
HOLE_START = 3 * GIB
HOLE_END = 4 * GIB

# Real-mode interrupt vectors lie at 0-0x3ff, the BIOS data area above. Linux reads two of its words: the EBDA's segment
# and the KiB of RAM below it, where an MP table might be.
BDA = 0x400
BDA_SIZE = 0x100
BDA_EBDA_SEGMENT = 0x40E
BDA_BASE_MEMORY_KIB = 0x413

# The first bytes after the BIOS data area; the GDT is used only until the guest loads its own.
GDT = 0x500
GDT_SIZE = 32

# Flat guests begin here unless the spec says otherwise: the first page after the real-mode vectors and the GDT.
FLAT = 0x1000

# Linux's "zero page". Below the command line, clear of the GDT, in RAM that the memory map calls usable: the kernel
# copies both before it allocates memory.
BOOT_PARAMS = 0x7000
BOOT_PARAMS_SIZE = PAGE

CMDLINE = 0x20000
CMDLINE_ROOM = 0x10000

# Linux's setup_data with a seed, a page behind boot_params.
RNG_SEED = BOOT_PARAMS + BOOT_PARAMS_SIZE

# What kernels get that are started by PVH or Multiboot, in the same place.
BOOT_INFORMATION = BOOT_PARAMS
BOOT_INFORMATION_ROOM = CMDLINE - BOOT_INFORMATION

# Identity page tables: one PML4, one PDPT, four page directories of 2 MiB pages. As high as base memory allows, so that
# a flat guest of half a MiB can be loaded below.
PAGE_TABLES = 0x90000
PAGE_TABLES_SIZE = 6 * PAGE
IDENTITY_END = 4 * GIB  # the address range that they map

# The extended BIOS data area takes the last KiB of base memory; it is empty, but Linux expects one.
EBDA = 0x9FC00
# Video memory and option ROMs on a PC; plain RAM here, not offered to Linux.
BASE_MEMORY_END = 0xA0000

# The BIOS area, where an operating system looks for the ACPI root pointer (0xe0000-0xfffff, 16-byte steps) and for the
# MP table's floating pointer (0xf0000-0xfffff).
BIOS = 0xE0000
ACPI = 0xE0000
ACPI_SIZE = 0x10000
MPTABLE = 0xF0000
MPTABLE_SIZE = 0x10000

# Linux kernels start at 1 MiB or above.
HIGH_MEMORY = MIB

# Firmware ends at 4 GiB, where processors begin after reset (Intel SDM volume 3, 10.1.4). Its last part is below 1 MiB
# too, where its real-mode code runs. QEMU has the same places (hw/i386/x86.c, pc_system_rom_init).
FIRMWARE_END = HOLE_END
FIRMWARE_ROOM = 16 * MIB
FIRMWARE_LOW_ROOM = 256 * KIB

# Where a kernel's setup code goes that firmware gets by fw_cfg: below its command line. SeaBIOS has its own tables at
# the end of RAM below 4 GiB (BUILD_MAX_HIGHTABLE): an initrd ends before them.
SETUP = 0x10000
FIRMWARE_TABLES = 256 * KIB
# A zImage lies where setup code otherwise does, and its setup code and command line above it (hw/i386/x86.c).
LOW_KERNEL = 0x10000
LOW_SETUP = 0x90000
LOW_CMDLINE_END = 0x9A000

# KVM's own pages (KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_TSS_ADDR: one and three pages), which Intel processors without
# unrestricted guest need for real mode. Just below the firmware's room, away from devices and RAM.
KVM_IDENTITY_MAP = FIRMWARE_END - FIRMWARE_ROOM - 4 * PAGE
KVM_TSS = KVM_IDENTITY_MAP + PAGE
KVM_TSS_SIZE = 3 * PAGE

# Interrupt controllers at the PC's addresses (Intel SDM volume 3, 11.4.1; 82093AA data sheet).
IOAPIC = 0xFEC00000
LAPIC = 0xFEE00000
IOAPIC_PINS = 24
ISA_IRQS = 16  # of the two 8259s

# Registers of virtio devices, in the hole: a page for each, so that a guest can give one away by itself. Their
# interrupts are the I/O APIC's inputs that no ISA interrupt has, then the ISA ones that PCs leave to cards.
VIRTIO_MMIO = 0xD0000000
VIRTIO_IRQS = (*range(16, IOAPIC_PINS), 5, 10, 11, 15, 14, 7, 6, 13)

# PCI, in the hole: where base address registers may lie, up to the I/O APIC, since SeaBIOS places them from there
# downwards (BUILD_PCIMEM_END); and below that configuration space as PCI Express maps it (ECAM), 1 MiB for the one bus.
# Ports as on PCs: above all that have a fixed place.
PCI_MEMORY = 0xE0000000
PCI_MEMORY_SIZE = IOAPIC - PCI_MEMORY
PCI_ECAM_SIZE = MIB
PCI_ECAM = PCI_MEMORY - PCI_ECAM_SIZE
PCI_IO = 0xC000
PCI_IO_SIZE = 0x4000
PCI_WINDOWS = (("mmio", PCI_MEMORY, PCI_MEMORY_SIZE), ("port", PCI_IO, PCI_IO_SIZE))
# With the chipset Q35, places that UEFI firmware counts on (edk2, OvmfPkg/Library/PlatformInitLib/Platform.c,
# PlatformMemMapInitialization; OvmfPkg/OvmfPkgX64.dsc): configuration space for all buses at 0xe0000000, and below it
# base address registers, from the end of RAM or from 2 GiB on. The registers of virtio-mmio keep their place.
Q35_ECAM = 0xE0000000
Q35_ECAM_SIZE = 256 * MIB
Q35_MEMORY = 2 * GIB
Q35_MEMORY_END = VIRTIO_MMIO
# Where any chipset's base address registers of memory may lie.
PCI_REACH = (Q35_MEMORY, IOAPIC)
# Interrupts of INTA pins, one each. First those that PCs leave to PCI, which the 8259s have too.
PCI_IRQS = (10, 11, 5, *range(16, IOAPIC_PINS), 15, 14, 7, 6, 13)

# Images in guest memory (virtio-pmem), above RAM. Linux adds memory in sections of 128 MiB; the ends of what it adds
# are multiples of 2 MiB (mm/memory_hotplug.c, check_pfn_span; SECTION_SIZE_BITS, SUBSECTION_SHIFT).
IMAGE_ALIGNMENT = 128 * MIB
IMAGE_SIZE_ALIGNMENT = 2 * MIB

# Linux's own limit for an initrd if its image has no header with one (boot protocol, initrd_addr_max).
INITRD_ADDR_MAX = 0x7FFFFFFF
# Linux's COMMAND_LINE_SIZE on x86 is 2048, the NUL included.
CMDLINE_MAX = 2047

# Ports that KVM answers itself when it has the interrupt controllers and the timer (PIC, ELCR; PIT, speaker gate).
IRQCHIP_PORTS = ((0x20, 2), (0xA0, 2), (0x4D0, 2))
PIT_PORTS = ((0x40, 4), (0x61, 1))

# ACPI's fixed registers (vmspec/registers/acpi.py): a free place in the PC's port space.
ACPI_PORTS = 0x600
ACPI_PORTS_SIZE = 8
PM_TIMER = ACPI_PORTS + 8  # as in the block of ICH9's (data sheet 316972, 13.8.3)
SCI = 9  # the PC's interrupt for ACPI events
