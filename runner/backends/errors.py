"""What a backend reports."""

from runner.devices.device import DeviceError


class BackendError(DeviceError):
    """The host has not what a device's table asks for. ``key`` is the key of the table that asks, "": the whole table;
    who opens the backend knows where the table is."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}" if key else why)
        self.key, self.why = key, why
