"""What a virtio device is to its machine by any transport (virtio 1.2, 4)."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import ClassVar, Self

from runner.devices.device import Device, End
from runner.devices.services import Services
from runner.devices.state import State, part
from runner.devices.virtio.common import Common
from runner.devices.virtio.device import VirtioDevice


class Transport(Device):
    """A virtio device with its registers. :meth:`of` makes the class for a kind of device."""

    own_state: ClassVar[type[State]]  # what the transport itself has, and what is common; a device's own is added

    @classmethod
    @cache
    def of(cls, device: type[VirtioDevice]) -> type[Self]:
        """The class of a kind of device by this transport."""
        name = f"{cls.__name__}{device.__name__}"
        state = type(f"{name}State", (cls.own_state,), {"device": part(device.state_class)})
        # Errors are located by the device's file.
        more = {"__module__": device.__module__, "made_from": device.made_from, "state_class": state}
        return type(name, (cls,), more)

    def __init__(self, device: VirtioDevice, notice: Callable[[str], None]) -> None:
        self._device = device
        self._notice = notice

    def attach(self, services: Services) -> None:
        self._common = Common(self._device, services, self, self._notice)
        super().attach(services)

    @abstractmethod
    def used(self, queue: int) -> None:
        """Interrupt for a queue."""

    @abstractmethod
    def configured(self) -> None:
        """Interrupt for the configuration or the status."""

    def model(self) -> VirtioDevice:
        return self._device

    def ends(self) -> Sequence[End]:
        return self._device.ends()

    def resized(self, columns: int, rows: int) -> None:
        self._device.resized(columns, rows)

    def tick(self) -> None:
        self._common.tick()

    def close(self) -> None:
        self._device.close()
