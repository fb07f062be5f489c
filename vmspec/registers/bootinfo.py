"""What kernels get from their loader other than Linux's boot_params: structures and numbers.

The layouts are format strings of Python's struct. PVH: Xen's public/arch-x86/hvm/start_info.h. Multiboot: specification
0.6.96, 3.3; specification 2.0, 3.6.
"""

PVH_MAGIC, PVH_VERSION = 0x336EC578, 1
# magic, version, flags, modules; addresses of: their list, the command line, ACPI's RSDP, the memory map; its entries
START_INFO = "<4I4Q2I"
PVH_MODULE = "<4Q"  # address, size, address of its command line
PVH_MEMORY = "<QQII"  # address, size, type as in e820

MULTIBOOT1, MULTIBOOT2 = 0x2BADB002, 0x36D76289  # in EAX at the entry; EBX has the information's address
# flags, KiB below 1 MiB and above, boot device, command line, modules, their list, 4 words of symbols, bytes of the
# memory map, its address, drives, configuration table, loader's name, APM table
INFO1 = "<18I"
HAS_MEMORY, HAS_CMDLINE, HAS_MODULES, HAS_MAP, HAS_LOADER = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 9
MODULE1 = "<4I"  # start, end, its command line
MEMORY1 = "<IQQI"  # bytes after this word, address, size, type as in e820

INFO2 = "<II"  # bytes of all
TAG2 = "<II"  # type, bytes without padding; tags begin at multiples of 8
END, CMDLINE, LOADER, MODULE, MEMORY, MAP, RSDP1, RSDP2 = 0, 1, 2, 3, 4, 6, 14, 15
MODULE2 = "<II"  # start, end; then its command line
BASIC2 = "<II"  # KiB below 1 MiB and above
MAP2 = "<II"  # bytes of an entry, version
MEMORY2 = "<QQII"  # address, size, type
GIVEN2 = (CMDLINE, LOADER, MODULE, MEMORY, MAP, RSDP1, RSDP2)

RSDP_SIZE = 36
LOADER_NAME = b"vmrun"
