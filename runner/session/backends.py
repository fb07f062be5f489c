"""The back ends of a run's devices on the host: images, networks, sockets, other processes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.backends.errors import BackendError
from runner.devices.device import DeviceError
from runner.machine.files import Files
from runner.machine.result import Ending
from vmspec.plan.plan import Plan, PlannedDevice

if TYPE_CHECKING:
    from runner.backends.capture import Capture
    from runner.backends.network import Served
    from runner.machine.machine import Machine


class Backends:
    """Opens what is behind the devices of one run, and keeps the error that ends the run if one fails later.

    ``files`` are the run's, ``notice`` shows the user a message."""

    def __init__(self, plan: Plan, files: Files, machine: "Machine", notice: Callable[[str], None]) -> None:
        self._plan, self._files, self._machine, self._notice = plan, files, machine, notice
        self._captures: list[Capture] = []
        self._links: dict[str, Served] = {}  # by the names of network devices
        self._sources: dict[int, int] = {}
        self._failure: Ending | None = None

    def open(self, planned: PlannedDevice) -> Any:
        """Open what is behind a device. Raises DeviceError, which names the key of the device's table."""
        where = f"device[{self._plan.devices.index(planned)}]"
        try:
            return self._open(planned, where)
        except BackendError as error:
            raise DeviceError(f"{where}.{error.key}: {error.why}" if error.key else f"{where}: {error.why}") from error

    def failure(self) -> Ending | None:
        """How the run ends because of a back end that failed, once the guest has ended; None if none did."""
        for capture in self._captures:
            capture.look()
        return self._failure

    def frames(self) -> dict[str, dict[str, int]]:
        """What became of the frames of each network device (:mod:`vmspec.trace.frames`), once the guest has ended."""
        return {name: link.counts() for name, link in self._links.items()}

    def sources(self) -> dict[int, int]:
        """Sockets with frames that have to be recorded and given to the network devices, by these devices' indexes."""
        return self._sources

    def _open(self, planned: PlannedDevice, where: str) -> Any:
        options, files, images = planned.options, self._files, self._machine.loader.images
        # Imported late: few guests have any of them.
        match planned.kind:
            case "virtio-blk" if options["format"] != "raw":
                from runner.backends.vhost import storage

                image, _ = files.image(f"{where}.path", Path(options["path"]), options["mode"] == "rw", sectors=False)
                overlay = files.temporary(f"{where}.mode", 0) if options["mode"] == "overlay" else None
                return storage.opened(options, image, overlay)
            case "virtio-blk":
                from runner.backends.disk import Disk

                path, mode, direct = Path(options["path"]), options["mode"], options["direct"]
                fd, size = files.disk(f"{where}.path", path, mode == "rw", direct)
                if mode != "rw":
                    images.keep(f"{planned.name}/path", path, fd)
                overlay = files.temporary(f"{where}.mode", size) if mode == "overlay" else None
                opened = Disk(fd, size, options["block-size"], mode == "rw", direct, overlay)
                if overlay is not None:
                    self._machine.private[planned.name] = opened
                return opened
            case "flash":
                from runner.backends import flash

                path, writes = Path(options["path"]), options["mode"] == "rw"
                key, template = "path", options["template"]
                if template is not None and writes:
                    flash.made(path, Path(template))
                elif template is not None and not path.exists():
                    key, path = "template", Path(template)
                fd, size = files.disk(f"{where}.{key}", path, writes, direct=False)
                if not writes:
                    images.keep(f"{planned.name}/{key}", path, fd)
                copy = None if writes else files.temporary(f"{where}.mode", size)
                contents = flash.opened(fd, size, planned.regions[0].size, copy)
                if copy is not None:
                    self._machine.private[planned.name] = contents
                return contents
            case "virtio-net":
                from runner.backends import network

                link = network.opened(options)
                if options["capture"] is not None:
                    try:
                        link.captured(self._captured(planned, where))
                    except BaseException:
                        link.close()
                        raise
                if self._machine.time is not None:
                    link = self._relayed(planned, link)
                self._links[planned.name] = link
                return link
            case "virtio-vsock":
                from runner.backends import vsock

                return vsock.opened(options)
            case "virtio-pmem":
                from runner.backends import pmem

                path = Path(options["path"])
                files.mapped(f"{where}.path", path, images.descriptor(path))
                return pmem.mapped(options["start"], options["size"])
            case "fw-cfg":
                from runner.boot import fwcfg

                return fwcfg.items(self._plan, images)
            case "virtio-fs":
                from runner.backends.vhost import virtiofsd

                return virtiofsd.opened(options)
            case "vhost-user":
                from runner.backends.vhost import start

                return start.opened(options, self._plan.directory)
            case kind:
                raise ValueError(f"nothing of the host is behind a {kind}")

    def _relayed(self, planned: PlannedDevice, backend: "Served") -> "Served":
        """The link of a machine with virtual time, over the backend of a network device."""
        from runner.backends.relay import Relayed

        link = Relayed(planned.options, backend)
        self._machine.loop.watch(link.trouble, link.look)
        self._sources[self._plan.devices.index(planned)] = link.source
        return link

    def _captured(self, planned: PlannedDevice, where: str) -> "Capture":
        """Begin to capture the frames of a network device."""
        from runner.backends import capture

        def failed(error: int) -> None:
            if (reason := capture.why(error)) is None:
                self._notice(f"the reader of {path} has closed it: the capture of {planned.name} has ended")
                return
            self._failure = Ending("capture-failed", detail=f"cannot write {where}.capture, {path}: {reason}")
            self._machine.end(self._failure)

        path = Path(planned.options["capture"])
        fd = self._files.open(f"{where}.capture", path, writes=True)
        made = capture.Capture(fd, planned.name, planned.options["mac"], self._machine.host_tsc_khz(), failed)
        self._captures.append(made)
        return made
