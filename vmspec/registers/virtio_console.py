"""The virtio console (virtio 1.2, 5.3): features, configuration, queues, control messages."""

# Feature bits (5.3.3)
SIZE = 1 << 0
MULTIPORT = 1 << 1
EMERG_WRITE = 1 << 2

# Configuration (5.3.4): offsets
COLS = 0
ROWS = 2
MAX_NR_PORTS = 4
EMERG_WR = 8
CONFIGURATION = 12  # bytes of it

# Queues (5.3.2): receive and transmit of port 0, the control ones, then receive and transmit of port 1, ...
CONTROL_IN, CONTROL_OUT = 2, 3
PORTS_MAX = 31  # with two queues each, and the control ones: 64

# Control messages (5.3.6.2)
DEVICE_READY = 0
DEVICE_ADD = 1  # Linux calls it PORT_ADD
DEVICE_REMOVE = 2
PORT_READY = 3
CONSOLE_PORT = 4
RESIZE = 5
PORT_OPEN = 6
PORT_NAME = 7
EVENTS = 8  # their number
MESSAGE = 8  # bytes of a message: le32 id, le16 event, le16 value


def receive_queue(port: int) -> int:
    """The queue on which a port receives; the next one is the queue on which it transmits."""
    return 2 * port + 2 if port else 0
