"""Virtio devices, and the transports that connect them: a transport knows no device and a device no transport."""

from runner.devices.services import Chain
from runner.devices.virtio.device import VirtioDevice

__all__ = ["Chain", "VirtioDevice"]
