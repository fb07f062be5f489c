"""What a network device counts of its frames: the closing summary's ``frames``, by device.

The fields of C's ``struct net_counts`` have the names, in this order. Nothing is imported, so that a build environment
can read the definitions.
"""

from collections.abc import Mapping

MOVED: Mapping[str, str] = {
    "received": "frames that the device took from the backend",
    "sent": "frames from the driver that the backend took",
}
# Why a frame was dropped. New ones come last.
DROPPED: Mapping[str, str] = {
    "malformed": "from the driver: too short, too long, or with a header for a feature that was not negotiated",
    "refused": "from the driver: the backend did not take the frame, or there was no peer",
    "overlong": "from the backend: longer than any frame, which ends the connection",
    "unfit": "for the driver: longer than its buffers, or with an offload that was not negotiated",
    "crowded": "for the driver: it had no buffers, and no more frames could wait",
    "forgotten": "for the driver: the device was reset while they waited",
}
COUNTS: Mapping[str, str] = {**MOVED, **DROPPED}
