"""Virtio devices, and the transports that connect them: a transport knows no device and a device no transport."""
