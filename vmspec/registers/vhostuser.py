"""The vhost-user protocol (QEMU, docs/interop/vhost-user.rst): requests, flags, features."""

# Requests to the back end
GET_FEATURES = 1
SET_FEATURES = 2
SET_OWNER = 3
SET_MEM_TABLE = 5
SET_VRING_NUM = 8
SET_VRING_ADDR = 9
SET_VRING_BASE = 10
GET_VRING_BASE = 11
SET_VRING_KICK = 12
SET_VRING_CALL = 13
GET_PROTOCOL_FEATURES = 15
SET_PROTOCOL_FEATURES = 16
GET_QUEUE_NUM = 17
SET_VRING_ENABLE = 18
SET_BACKEND_REQ_FD = 21
GET_CONFIG = 24
SET_CONFIG = 25
RESET_DEVICE = 34
NAMES = {number: name for name, number in list(globals().items()) if name.isupper() and isinstance(number, int)}

# The one request of the back end's that is negotiated
BACKEND_CONFIG_CHANGE = 2

# Flags of a message
VERSION = 1
VERSION_MASK = 3
REPLY = 4
NEED_REPLY = 8

# In the place of a feature bit of virtio: the back end has features of the protocol
PROTOCOL_FEATURES = 1 << 30

# Features of the protocol
MQ = 1 << 0
REPLY_ACK = 1 << 3
BACKEND_REQ = 1 << 5
CONFIG = 1 << 9
RESET = 1 << 13

REGIONS = 8  # of memory, at most
