"""The memory balloon (virtio 1.2, 5.5): features, configuration, queues, statistics."""

PAGE = 4096  # bytes of a page, whatever the guest's are (5.5.6)

# Feature bits (5.5.3)
MUST_TELL_HOST = 1 << 0
STATS_VQ = 1 << 1
DEFLATE_ON_OOM = 1 << 2
FREE_PAGE_HINT = 1 << 3
PAGE_POISON = 1 << 4
PAGE_REPORTING = 1 << 5

# Configuration (5.5.4): offsets
NUM_PAGES = 0  # that the device wants
ACTUAL = 4  # that the driver has given, which it writes
CONFIGURATION = 8  # bytes of it, without those of FREE_PAGE_HINT and PAGE_POISON

# Queues (5.5.2). The last two have the next free number where features are missing (Linux, virtio_balloon.c).
INFLATE, DEFLATE = 0, 1

# Statistics (5.5.6.3), by tag: le16 tag and le64 value
STATISTICS = (
    "swap_in",
    "swap_out",
    "major_faults",
    "minor_faults",
    "free_memory",
    "total_memory",
    "available_memory",
    "disk_caches",
    "hugetlb_allocations",
    "hugetlb_failures",
)
STATISTIC = 10  # bytes of one
