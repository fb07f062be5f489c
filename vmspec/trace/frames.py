"""What a network device counts of its frames: the closing summary's ``frames``, by device.

The fields of C's ``struct net_counts`` have the names, in this order. Nothing is imported, so that a build environment
can read the definitions.
"""

from collections.abc import Mapping

MOVED: Mapping[str, str] = {
    "received": "frames that the device took from the other side",
    "sent": "frames of the driver's that the other side got",
}
# Why a frame was dropped. New ones come last.
DROPPED: Mapping[str, str] = {
    "malformed": "of the driver's: too short, too long, or with a header that says what was not agreed on",
    "refused": "of the driver's: the other side did not take it, or there was none",
    "overlong": "from the other side: longer than any frame, which ends the connection",
    "unfit": "for the driver: longer than all its buffers, or as it has not agreed to",
    "crowded": "for the driver: it had no buffers, and no more could wait",
    "forgotten": "for the driver: it was reset while they waited",
}
COUNTS: Mapping[str, str] = {**MOVED, **DROPPED}
