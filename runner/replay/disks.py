"""The disks of a recording's machine, for their models: images by their hashes; what the guest writes is discarded."""

import json
from collections.abc import Sequence
from pathlib import Path

import tracer
from runner.backends.disk import Disk
from runner.backends.errors import BackendError
from runner.devices.device import DeviceError
from runner.machine.files import Files
from vmspec.lock.text import LockText
from vmspec.plan.plan import PlannedDevice
from vmspec.rerun.recorded import Recorded
from vmspec.rerun.search import Search
from vmspec.trace import keys


class Disks:
    """Opens the disks of a trace. Images are looked for where they were, then in ``folders``."""

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        """Raises TraceError."""
        metadata = tracer.load(path).metadata
        images = json.loads(metadata.get(keys.IMAGES, "{}"))  # an object, or the trace is damaged
        self._recorded = Recorded(path, metadata.get(keys.SPEC, ""), metadata.get(keys.LOCK, ""), images)
        self._search = Search(folders)
        self._files = Files(())

    def open(self, planned: PlannedDevice) -> Disk | None:
        """The disk of a device, None if its image is not found. Raises DeviceError, SpecError."""
        name = f"{planned.name}/path"
        image = LockText(self._recorded.lock, self._recorded.trace / keys.LOCK).lock.images.get(name)
        wanted = None if image is None else self._recorded.image(name, image.size, image.sha256)
        path = None if wanted is None else self._search.find(wanted)
        if path is None:
            return None
        options = planned.options
        fd, size = self._files.disk(name, path, False, options["direct"])
        overlay = self._files.temporary(name, size) if options["mode"] == "overlay" else None
        try:
            return Disk(fd, size, options["block-size"], False, options["direct"], overlay)
        except BackendError as error:
            raise DeviceError(f"{name}: {error.why}") from error

    def close(self) -> None:
        """Close the images."""
        self._files.close()
