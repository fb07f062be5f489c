"""Virtio's PCI transport (virtio 1.2, 4.1): ids, capabilities, and the layout of vmrun's base address register."""

# Ids (4.1.2)
VENDOR = 0x1AF4
DEVICE = 0x1040  # plus the device's number
REVISION = 1
SUBSYSTEM = 0x1100  # 0x40 or more: not a transitional device
# Kinds of capability (4.1.4)
COMMON_CFG, NOTIFY_CFG, ISR_CFG, DEVICE_CFG, PCI_CFG = 1, 2, 3, 4, 5
# Their fields (4.1.4): offsets
CFG_TYPE, CFG_BAR, CFG_OFFSET, CFG_LENGTH = 0x03, 0x04, 0x08, 0x0C
MULTIPLIER = 0x10  # of a NOTIFY_CFG
CFG_DATA = 0x10  # of a PCI_CFG: a window onto a base address register

# The base address register: each structure has a page of its own, so that a guest can give one away by itself.
COMMON = 0x0000
ISR = 0x1000
CONFIG = 0x2000
NOTIFY = 0x3000
TABLE = 0x4000
PENDING = 0x5000
SIZE = 0x8000
PAGE = 0x1000
NOTIFY_MULTIPLIER = 4  # bytes from one queue's notification register to the next

# The common configuration (4.1.4.3): offsets
DEVICE_FEATURE_SELECT = 0x00
DEVICE_FEATURE = 0x04
DRIVER_FEATURE_SELECT = 0x08
DRIVER_FEATURE = 0x0C
CONFIG_MSIX_VECTOR = 0x10
NUM_QUEUES = 0x12
DEVICE_STATUS = 0x14
CONFIG_GENERATION = 0x15
QUEUE_SELECT = 0x16
QUEUE_SIZE = 0x18
QUEUE_MSIX_VECTOR = 0x1A
QUEUE_ENABLE = 0x1C
QUEUE_NOTIFY_OFF = 0x1E
QUEUE_DESC = 0x20  # each of these three: the low half, then the high half
QUEUE_DRIVER = 0x28
QUEUE_DEVICE = 0x30
QUEUE_NOTIFY_DATA = 0x38
QUEUE_RESET = 0x3A
COMMON_SIZE = 0x3C

# How wide each is: a driver accesses it in no other width (4.1.3.1).
WIDTHS = {
    **dict.fromkeys((DEVICE_FEATURE_SELECT, DEVICE_FEATURE, DRIVER_FEATURE_SELECT, DRIVER_FEATURE), 4),
    **dict.fromkeys((CONFIG_MSIX_VECTOR, NUM_QUEUES), 2),
    **dict.fromkeys((DEVICE_STATUS, CONFIG_GENERATION), 1),
    **dict.fromkeys((QUEUE_SELECT, QUEUE_SIZE, QUEUE_MSIX_VECTOR, QUEUE_ENABLE, QUEUE_NOTIFY_OFF), 2),
    **{at + half: 4 for at in (QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE) for half in (0, 4)},
    **dict.fromkeys((QUEUE_NOTIFY_DATA, QUEUE_RESET), 2),
}

NO_VECTOR = 0xFFFF  # (4.1.5.1.2)
