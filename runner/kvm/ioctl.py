"""One ioctl call and its error."""

from typing import Any

from runner.kvm.errors import KvmError
from runner.native import _native

ffi = _native.ffi
lib = _native.lib


def call(fd: int, ioctl: str, argument: "int | _native.Pointer[Any]" = 0) -> int:
    """Make the ioctl of that name; ``argument`` is a number or a cffi pointer. Raises :class:`KvmError`."""
    request = getattr(lib, ioctl)
    if isinstance(argument, int):
        value = lib.call_value(fd, request, argument)
    else:
        value = lib.call_pointer(fd, request, argument)
    if value < 0:
        raise KvmError(ffi.errno, ioctl)
    return int(value)
