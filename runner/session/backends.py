"""What is behind a device on the host: an image, a network, sockets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.backends.errors import BackendError
from runner.boot.images import Images
from runner.devices.device import DeviceError
from runner.machine.files import Files
from vmspec.plan.plan import PlannedDevice


def opened(
    planned: PlannedDevice, where: str, files: Files, images: Images, capture: Callable[[PlannedDevice, str], Any]
) -> Any:
    """Open what is behind a device; ``where`` is its table in the spec. ``files`` are the run's, ``images`` keeps what
    is hashed for the trace, ``capture`` begins a :class:`runner.backends.capture.Capture` of a network device. Raises
    DeviceError."""
    try:
        return _opened(planned, where, files, images, capture)
    except BackendError as error:
        raise DeviceError(f"{where}.{error.key}: {error.why}" if error.key else f"{where}: {error.why}") from error


def _opened(
    planned: PlannedDevice, where: str, files: Files, images: Images, capture: Callable[[PlannedDevice, str], Any]
) -> Any:
    options = planned.options
    # Imported late: few guests have any of them.
    match planned.kind:
        case "virtio-blk":
            from runner.backends.disk import Disk

            path, mode, direct = Path(options["path"]), options["mode"], options["direct"]
            fd, size = files.disk(f"{where}.path", path, mode == "rw", direct)
            if mode != "rw":
                images.keep(f"{planned.name}/path", path, fd)
            overlay = files.temporary(f"{where}.mode", size) if mode == "overlay" else None
            return Disk(fd, size, options["block-size"], mode == "rw", direct, overlay)
        case "virtio-net":
            from runner.backends import network

            link = network.opened(options)
            if options["capture"] is not None:
                try:
                    link.captured(capture(planned, where))
                except BaseException:
                    link.close()
                    raise
            return link
        case "virtio-vsock":
            from runner.backends import vsock

            return vsock.opened(options)
        case "virtio-pmem":
            from runner.backends import pmem

            path = Path(options["path"])
            files.mapped(f"{where}.path", path, images.descriptor(path))
            return pmem.mapped(options["start"], options["size"])
        case kind:
            raise ValueError(f"nothing of the host is behind a {kind}")
