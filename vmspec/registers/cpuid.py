"""CPUID's leaves, as far as a spec or the runner changes them: Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix
E."""

VENDOR = 0x0  # EAX: the highest leaf; EBX, EDX, ECX: the vendor
VENDORS = ("GenuineIntel", "AuthenticAMD", "HygonGenuine")  # those that KVM distinguishes
VERSION = 0x1
CACHES = 0x4
FEATURES = 0x7
TOPOLOGY = 0xB
XSAVE = 0xD
TOPOLOGY_V2 = 0x1F

EXTENDED = 0x80000000  # EAX: the highest leaf of these
EXTENDED_FEATURES = 0x80000001
BRAND_1 = 0x80000002  # the processor's name
BRAND_2 = 0x80000003
BRAND_3 = 0x80000004
AMD_L1 = 0x80000005
L2 = 0x80000006  # AMD: L3, too
POWER = 0x80000007
ADDRESS_SIZES = 0x80000008
SVM = 0x8000000A
AMD_CACHES = 0x8000001D
AMD_TOPOLOGY = 0x8000001E
AMD_TOPOLOGY_V2 = 0x80000026
