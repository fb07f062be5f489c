"""Virtio (virtio 1.2): device numbers, status, feature bits, and the registers of the MMIO transport."""

# Device numbers (5)
NET, BLOCK, CONSOLE, ENTROPY, BALLOON, SOCKET, FS, PMEM = 1, 2, 3, 4, 5, 19, 26, 27

# Device status (2.1)
ACKNOWLEDGE = 1
DRIVER = 2
DRIVER_OK = 4
FEATURES_OK = 8
NEEDS_RESET = 64
FAILED = 128

# Feature bits of all devices (6)
INDIRECT_DESC = 1 << 28
EVENT_IDX = 1 << 29
VERSION_1 = 1 << 32

# The block device (5.2): feature bits, the length of its identification, and its configuration by offset and size
BLK_SEG_MAX = 1 << 2
BLK_RO = 1 << 5
BLK_BLK_SIZE = 1 << 6
BLK_FLUSH = 1 << 9
BLK_TOPOLOGY = 1 << 10
BLK_CONFIG_WCE = 1 << 11
BLK_MQ = 1 << 12
BLK_DISCARD = 1 << 13
BLK_WRITE_ZEROES = 1 << 14
ID_BYTES = 20
BLK_CONFIG = {
    0x00: (8, "capacity"),
    0x08: (4, "size_max"),
    0x0C: (4, "seg_max"),
    0x10: (2, "cylinders"),
    0x12: (1, "heads"),
    0x13: (1, "sectors"),
    0x14: (4, "blk_size"),
    0x18: (1, "physical_block_exp"),
    0x19: (1, "alignment_offset"),
    0x1A: (2, "min_io_size"),
    0x1C: (4, "opt_io_size"),
    0x20: (1, "writeback"),
    0x21: (1, "unused0"),
    0x22: (2, "num_queues"),
    0x24: (4, "max_discard_sectors"),
    0x28: (4, "max_discard_seg"),
    0x2C: (4, "discard_sector_alignment"),
    0x30: (4, "max_write_zeroes_sectors"),
    0x34: (4, "max_write_zeroes_seg"),
    0x38: (1, "write_zeroes_may_unmap"),
    0x39: (3, "unused1"),
}
BLK_WRITEBACK = 0x20

# Feature bits of the network device (5.1.3)
NET_CSUM = 1 << 0  # the driver may leave checksums to the device
NET_GUEST_CSUM = 1 << 1  # and the device to the driver
NET_MTU = 1 << 3
NET_MAC = 1 << 5
NET_GUEST_TSO4, NET_GUEST_TSO6, NET_GUEST_ECN = 1 << 7, 1 << 8, 1 << 9  # the driver takes segments that are to be cut
NET_HOST_TSO4, NET_HOST_TSO6, NET_HOST_ECN = 1 << 11, 1 << 12, 1 << 13  # and so does the device
NET_MRG_RXBUF = 1 << 15  # a frame to the driver may be in several buffers
NET_STATUS = 1 << 16  # the configuration says whether the link is up
NET_CTRL_VQ = 1 << 17  # there is a control queue
NET_CTRL_RX = 1 << 18  # it takes which frames are to be received
NET_MQ = 1 << 22  # there may be several pairs of queues

NET_CONFIG = {6: (2, "status"), 8: (2, "max_virtqueue_pairs"), 10: (2, "mtu")}  # after the address, byte by byte
# Status of the link (5.1.4)
NET_LINK_UP = 1

# The socket device (5.10): a feature bit, and the addresses that a guest can have (5.10.4)
VSOCK_STREAM = 1 << 0
CID_LEAST, CID_MOST = 3, (1 << 32) - 2

# The persistent memory device (5.19): its configuration by offset and size
PMEM_CONFIG = {0: (8, "start"), 8: (8, "size")}

# The file system device (5.11.4): its configuration begins with its tag
TAG_BYTES = 36
FS_QUEUES = TAG_BYTES

# Interrupt status, by either transport (4.2.2, 4.1.4.5)
USED_BUFFER = 1
CONFIGURATION = 2

# The MMIO transport (4.2.2): offsets
MAGIC = 0x000
VERSION = 0x004
DEVICE_ID = 0x008
VENDOR_ID = 0x00C
DEVICE_FEATURES = 0x010
DEVICE_FEATURES_SEL = 0x014
DRIVER_FEATURES = 0x020
DRIVER_FEATURES_SEL = 0x024
QUEUE_SEL = 0x030
QUEUE_NUM_MAX = 0x034
QUEUE_NUM = 0x038
QUEUE_READY = 0x044
QUEUE_NOTIFY = 0x050
INTERRUPT_STATUS = 0x060
INTERRUPT_ACK = 0x064
STATUS = 0x070
QUEUE_DESC = 0x080  # each of these three: the low half, then the high half
QUEUE_DRIVER = 0x090
QUEUE_DEVICE = 0x0A0
SHM_SEL = 0x0AC
SHM_LEN = 0x0B0
SHM_BASE = 0x0B8
CONFIG_GENERATION = 0x0FC
CONFIG = 0x100

# Their values
MAGIC_VALUE = 0x74726976  # "virt"
VERSION_VALUE = 2
VENDOR = 0x4E524D56  # "VMRN": any will do, as Linux takes every vendor
SIZE = 0x200  # of the region: 256 bytes of configuration
NO_SHARED_MEMORY = 0xFFFFFFFF  # each half of the length of a region that there is not (4.2.2)
HID = "LNRO0005"  # the ACPI id that Linux's driver binds to (drivers/virtio/virtio_mmio.c)
