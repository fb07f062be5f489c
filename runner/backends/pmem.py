"""The image behind a virtio persistent memory device, which the loader has mapped."""

from runner.devices.services import MappedImage, Native
from runner.native._native import ffi, lib


def mapped(start: int, size: int) -> MappedImage:
    """An image of so many bytes at this guest-physical address."""
    return MappedImage(start, size, Native(ffi.addressof(lib, "pmem_device"), ffi.NULL))
