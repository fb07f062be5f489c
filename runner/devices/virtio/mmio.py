"""The MMIO transport (virtio 1.2, 4.2): a device with registers in memory and one interrupt."""

from collections.abc import Callable
from typing import Any

from runner.devices.device import Device
from runner.devices.state import State, bits, part
from runner.devices.virtio.common import CommonState, set_half
from runner.devices.virtio.device import VirtioDevice
from runner.devices.virtio.transport import Transport
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import virtio as R

REGION = "registers"


class MMIOState(State):
    """What the transport itself has, beside what is common to all; a device's own state is added to it."""

    interrupt: int = bits(R.USED_BUFFER | R.CONFIGURATION)
    common: CommonState = part(CommonState)


class MMIO(Transport):
    """A virtio device on the memory bus.

    The interrupt is edge-triggered: each event is a pulse, and the status register says which kinds came since the
    driver acknowledged them. C answers reads of that register and of the constant ones, and acknowledges. A
    notification is a coalesced write that is flushed at once, or rings the data path. So the vCPU goes on while a
    thread serves the queue.
    """

    own_state = MMIOState

    def start(self) -> None:
        constants = {
            R.MAGIC: R.MAGIC_VALUE,
            R.VERSION: R.VERSION_VALUE,
            R.DEVICE_ID: self._device.number,
            R.VENDOR_ID: R.VENDOR,
            R.INTERRUPT_STATUS: 0,
        }
        for offset, value in constants.items():
            self.bus.shadow(REGION, offset, value, 4)
        self.bus.clears(REGION, R.INTERRUPT_ACK, R.INTERRUPT_STATUS, 4)
        if (path := self._common.data_path) is None or path.bell is None:
            self.bus.writes(REGION, R.QUEUE_NOTIFY, "coalesced", 4)
            self.bus.flush_at_once(True)
            return
        self.bus.rings(REGION, R.QUEUE_NOTIFY, path, 4)
        status = self.bus.bits(REGION, R.INTERRUPT_STATUS, 4)
        for queue in range(len(self._device.queue_sizes)):
            path.interrupt(queue, self.irq.eventfd(), status, R.USED_BUFFER)

    # The transport's side of what is common

    def used(self, queue: int) -> None:
        """Interrupt for a queue."""
        self._raise(R.USED_BUFFER)

    def configured(self) -> None:
        """Interrupt for the configuration or the status."""
        self._raise(R.CONFIGURATION)

    def _raise(self, cause: int) -> None:
        self._interrupt(set=cause)
        self.irq.pulse()

    def _interrupt(self, set: int = 0, clear: int = 0) -> int:
        """Change the interrupt status; C changes it too."""
        return self.bus.change(REGION, R.INTERRUPT_STATUS, set, clear, 4)

    # The driver's side

    def read(self, region: str, offset: int, size: int) -> int:
        if offset >= R.CONFIG:
            return self._common.read_configuration(offset - R.CONFIG, size)
        return self._read(offset) if size == 4 else 0  # registers have 32 bits, and no part can be read (4.2.2.2)

    def _read(self, offset: int) -> int:
        common, queue = self._common, self._common.selected
        match offset:
            case R.MAGIC:
                return R.MAGIC_VALUE
            case R.VERSION:
                return R.VERSION_VALUE
            case R.DEVICE_ID:
                return self._device.number
            case R.VENDOR_ID:
                return R.VENDOR
            case R.DEVICE_FEATURES:
                return common.device_features()
            case R.QUEUE_NUM_MAX:
                return queue.longest if queue else 0
            case R.QUEUE_READY:
                return int(queue.ready) if queue else 0
            case R.INTERRUPT_STATUS:
                return self._interrupt()
            case R.STATUS:
                return common.status
            case R.CONFIG_GENERATION:
                return common.generation
            case _ if R.SHM_LEN <= offset < R.SHM_BASE + 8:
                return R.NO_SHARED_MEMORY
            case _:
                return 0

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        if offset >= R.CONFIG:
            self._common.write_configuration(offset - R.CONFIG, size, value)
        elif size == 4:
            self._write(offset, value)

    def _write(self, offset: int, value: int) -> None:
        common, queue = self._common, self._common.selected
        match offset:
            case R.DEVICE_FEATURES_SEL:
                common.device_features_select = value
            case R.DRIVER_FEATURES_SEL:
                common.driver_features_select = value
            case R.DRIVER_FEATURES:
                common.set_driver_features(value)
            case R.QUEUE_SEL:
                common.queue_select = value
            case R.QUEUE_READY:
                common.set_ready(bool(value & 1))
            case R.QUEUE_NOTIFY:
                common.kicked(value)
            case R.INTERRUPT_ACK:
                self._interrupt(clear=value)
            case R.STATUS if value == 0:
                self.reset()
            case R.STATUS:
                common.set_status(value)
            case _ if queue is None or queue.ready:  # a queue that is ready is set up no more (4.2.2.2)
                pass
            case R.QUEUE_NUM:
                queue.size = value
            case _ if offset & ~4 == R.QUEUE_DESC:
                queue.descriptors = set_half(queue.descriptors, offset, value)
            case _ if offset & ~4 == R.QUEUE_DRIVER:
                queue.driver = set_half(queue.driver, offset, value)
            case _ if offset & ~4 == R.QUEUE_DEVICE:
                queue.device = set_half(queue.device, offset, value)

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        """Notifications: one of each queue is enough."""
        for queue in {data[at : at + 4] for at in range(0, len(data), 4)}:
            self._common.kicked(int.from_bytes(queue, "little"))

    def reset(self) -> None:
        self._common.reset()
        self._interrupt(clear=R.USED_BUFFER | R.CONFIGURATION)

    def save(self) -> State:
        assert self.state_class is not None
        return self.state_class(interrupt=self._interrupt(), common=self._common.save(), device=self._device.save())

    def load(self, state: State) -> None:
        assert self.state_class is not None
        saved: Any = state if type(state) is self.state_class else self.state_class.again(state)
        self.reset()
        self._interrupt(set=saved.interrupt)
        self._common.load(saved.common, saved.device)


def connect(device: VirtioDevice, planned: PlannedDevice, notice: Callable[[str], None]) -> Device:
    """The device as the plan has it."""
    kind: Any = type(device)
    return MMIO.of(kind)(device, notice)
