"""The PCI transport (virtio 1.2, 4.1): a device whose registers lie in a base address register, with MSI-X."""

from collections.abc import Callable
from typing import Any

from runner.devices.device import Device
from runner.devices.pci.function import BAR, CONFIGURATION, Function, FunctionState, Identity
from runner.devices.state import State, StateError, bits, octets, part
from runner.devices.virtio.common import CommonState, set_half
from runner.devices.virtio.device import VirtioDevice
from runner.devices.virtio.transport import Transport
from vmspec.plan.plan import PlannedDevice
from vmspec.registers import pci, virtio
from vmspec.registers import virtiopci as R

REGION = "registers"
# Class codes, as QEMU has them; a device that is not here is of no class.
CLASSES = {
    virtio.NET: 0x020000,  # Ethernet
    virtio.BLOCK: 0x010000,  # mass storage, SCSI
    virtio.CONSOLE: 0x078000,  # other communication
    virtio.FS: 0x018000,  # other mass storage
    virtio.SOCKET: 0x078000,
}
NO_CLASS = 0x00FF00


class PCIState(State):
    """What the transport itself has, beside what is common to all; a device's own state is added to it."""

    function: FunctionState = part(FunctionState)
    interrupt: int = bits(virtio.USED_BUFFER | virtio.CONFIGURATION)
    chosen: bytes = octets(2 * 65)  # vectors of the configuration and of each queue, two bytes each
    common: CommonState = part(CommonState)


class PCI(Transport, Function):
    """A virtio device as a PCI function.

    There is a vector for the configuration and one for each queue, so that a driver can tell them apart. Without MSI-X
    the interrupt is INTA, until the driver reads the interrupt status. A notification is a coalesced write that is
    flushed at once, so the vCPU goes on while the device thread serves the queue.
    """

    own_state = PCIState

    def __init__(
        self,
        device: VirtioDevice,
        notice: Callable[[str], None],
        bars: tuple[int, ...] = (0,),
        line: int | None = None,
    ) -> None:
        super().__init__(device, notice)
        self._start = bars[0]
        self._line = line

    def start(self) -> None:
        number, queues = self._device.number, len(self._device.queue_sizes)
        identity = Identity(
            R.VENDOR,
            R.DEVICE + number,
            CLASSES.get(number, NO_CLASS),
            R.REVISION,
            R.VENDOR,
            R.SUBSYSTEM,
        )
        self.begin(identity, (BAR(REGION, R.SIZE, self._start),), self._line)
        self.add_msix(1 + queues, R.TABLE, R.PENDING)
        self._structure(R.COMMON_CFG, R.COMMON, R.COMMON_SIZE)
        self._structure(R.ISR_CFG, R.ISR, 4)
        multiplier = R.NOTIFY_MULTIPLIER.to_bytes(4, "little")
        self._structure(R.NOTIFY_CFG, R.NOTIFY, R.NOTIFY_MULTIPLIER * queues, multiplier)
        if self._device.configuration():  # a device without one has no such capability (4.1.4.6.1)
            self._structure(R.DEVICE_CFG, R.CONFIG, R.PAGE)
        writable = bytes((0, 0, 0xFF, 0, 0, 0)) + b"\xff" * 12  # bar, offset, length, data
        self._access = self._structure(R.PCI_CFG, 0, 0, bytes(4), writable)
        path = self._common.data_path
        for queue in range(queues):
            doorbell = R.NOTIFY + R.NOTIFY_MULTIPLIER * queue
            if path is not None:
                self.bus.rings(REGION, doorbell, path, 2)
            else:
                self.bus.writes(REGION, doorbell, "coalesced", 2)
        if path is None:
            self.bus.flush_at_once(True)
        self._wired: list[tuple[int | None, bool]] = [(None, False)] * queues  # eventfd, masked: of the data path
        self._clear()
        self.power_on()
        self._settle()

    def _structure(self, kind: int, offset: int, length: int, more: bytes = b"", writable: bytes = b"") -> int:
        """Add a capability that describes a structure in BAR 0 (4.1.4); return its offset."""
        size = 16 + len(more)
        body = bytes((size, kind, 0, 0, 0, 0)) + offset.to_bytes(4, "little") + length.to_bytes(4, "little") + more
        return self.capability(pci.VENDOR_SPECIFIC, body, writable)

    def _clear(self) -> None:
        self._interrupt = 0
        self._chosen = [R.NO_VECTOR] * (1 + len(self._device.queue_sizes))

    # The transport's side of what is common

    def used(self, queue: int) -> None:
        """Interrupt for a queue."""
        self._raise(virtio.USED_BUFFER, self._chosen[1 + queue])

    def configured(self) -> None:
        """Interrupt for the configuration or the status."""
        self._raise(virtio.CONFIGURATION, self._chosen[0])

    def _raise(self, cause: int, vector: int) -> None:
        self._show(self._interrupt | cause)
        self.msix.interrupt(vector)  # NO_VECTOR is none of the function's

    def _show(self, interrupt: int) -> None:
        self._interrupt = interrupt
        self.assert_inta(bool(interrupt))

    def _settle(self) -> None:
        """What a function may do, or how it interrupts, may have changed: tell what is common, and the data path.

        INTA is a level, which no eventfd drives. Without MSI-X the data path therefore makes the device tick, and the
        tick asserts INTA.
        """
        self._common.reach(self.master)
        if (path := self._common.data_path) is None:
            return
        for queue, vector in enumerate(self._chosen[1:]):
            if self.msix.enabled:
                wire = self.msix.event(vector), not self.msix.sends(vector)
            else:
                wire = path.attention, False
            event, masked = self._wired[queue]
            if wire[0] != event:
                with path.held():
                    path.interrupt(queue, wire[0])
            if wire != (event, masked):
                path.mask(queue, wire[1])
            self._wired[queue] = wire

    def _collect(self) -> None:
        """Make what the data path keeps pending the vectors' own."""
        if (path := self._common.data_path) is None:
            return
        with path.held():
            for queue, vector in enumerate(self._chosen[1:]):
                if path.pending(queue):
                    path.interrupt(queue, None)
                    path.mask(queue, False)
                    self._wired[queue] = None, False
                    self.msix.interrupt(vector)
        self._settle()

    # The driver's side

    def read(self, region: str, offset: int, size: int) -> int:
        if region == CONFIGURATION:
            return self._read_configuration(offset, size)
        at = offset & R.PAGE - 1
        match offset & -R.PAGE:
            case R.COMMON:
                return self._read_common(at) if R.WIDTHS.get(at) == size else 0
            case R.ISR if at == 0:
                shown = self._interrupt  # reading acknowledges (4.1.4.5)
                self._show(0)
                return shown
            case R.CONFIG:
                return self._common.read_configuration(at, size)
            case R.TABLE:
                return self.msix.read_table(at, size)
            case R.PENDING:
                self._collect()
                return self.msix.read_pending(at, size)
        return 0

    def _read_common(self, at: int) -> int:
        common, queue = self._common, self._common.selected
        match at:
            case R.DEVICE_FEATURE_SELECT:
                return common.device_features_select
            case R.DEVICE_FEATURE:
                return common.device_features()
            case R.DRIVER_FEATURE_SELECT:
                return common.driver_features_select
            case R.DRIVER_FEATURE:
                return common.selected_driver_features()
            case R.CONFIG_MSIX_VECTOR:
                return self._chosen[0]
            case R.NUM_QUEUES:
                return len(self._device.queue_sizes)
            case R.DEVICE_STATUS:
                return common.status
            case R.CONFIG_GENERATION:
                return common.generation
            case R.QUEUE_SELECT:
                return common.queue_select
            case R.QUEUE_MSIX_VECTOR:
                return self._chosen[1 + common.queue_select] if queue else R.NO_VECTOR
            case _ if queue is None:
                return 0  # a size of 0: there is no such queue (4.1.4.3.1)
            case R.QUEUE_SIZE:
                return queue.size
            case R.QUEUE_ENABLE:
                return int(queue.ready)
            case R.QUEUE_NOTIFY_OFF:
                return common.queue_select
            case _ if at & ~4 == R.QUEUE_DESC:
                return queue.descriptors >> 8 * (at & 4) & 0xFFFFFFFF
            case _ if at & ~4 == R.QUEUE_DRIVER:
                return queue.driver >> 8 * (at & 4) & 0xFFFFFFFF
            case _ if at & ~4 == R.QUEUE_DEVICE:
                return queue.device >> 8 * (at & 4) & 0xFFFFFFFF
        return 0

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        if region == CONFIGURATION:
            self._write_configuration(offset, size, value)
            return
        at = offset & R.PAGE - 1
        match offset & -R.PAGE:
            case R.COMMON if R.WIDTHS.get(at) == size:
                self._write_common(at, value)
            case R.CONFIG:
                self._common.write_configuration(at, size, value)
            case R.NOTIFY if at % R.NOTIFY_MULTIPLIER == 0:
                self._common.kicked(at // R.NOTIFY_MULTIPLIER)
            case R.TABLE:
                self.msix.write_table(at, size, value)
                self._settle()

    def _write_common(self, at: int, value: int) -> None:
        common, queue = self._common, self._common.selected
        match at:
            case R.DEVICE_FEATURE_SELECT:
                common.device_features_select = value
            case R.DRIVER_FEATURE_SELECT:
                common.driver_features_select = value
            case R.DRIVER_FEATURE:
                common.set_driver_features(value)
            case R.CONFIG_MSIX_VECTOR:
                self._choose(0, value)
            case R.DEVICE_STATUS if value == 0:
                self._reset_device()
            case R.DEVICE_STATUS:
                common.set_status(value)
            case R.QUEUE_SELECT:
                common.queue_select = value
            case R.QUEUE_MSIX_VECTOR if queue is not None:
                self._choose(1 + common.queue_select, value)
            case R.QUEUE_ENABLE if value == 1:  # a driver takes no queue back but by a reset (4.1.4.3.2)
                common.set_ready(True)
            case _ if queue is None or queue.ready:  # a queue that is ready is set up no more
                pass
            case R.QUEUE_SIZE:
                queue.size = value
            case _ if at & ~4 == R.QUEUE_DESC:
                queue.descriptors = set_half(queue.descriptors, at, value)
            case _ if at & ~4 == R.QUEUE_DRIVER:
                queue.driver = set_half(queue.driver, at, value)
            case _ if at & ~4 == R.QUEUE_DEVICE:
                queue.device = set_half(queue.device, at, value)

    def _choose(self, index: int, vector: int) -> None:
        """Take a vector if there is one of that number; the driver reads back whether there is (4.1.5.1.2)."""
        self._chosen[index] = vector if vector < len(self.msix.vectors) else R.NO_VECTOR
        self._settle()

    def written(self, region: str, offset: int, size: int, data: bytes) -> None:
        """Notifications: one of each queue is enough. The register says which queue it is."""
        self._common.kicked((offset - R.NOTIFY) // R.NOTIFY_MULTIPLIER)

    # Configuration space

    def _read_configuration(self, offset: int, size: int) -> int:
        data = self._access + R.CFG_DATA
        if offset == data and (window := self._window()) is not None:
            self._put(self.configuration, data, window[1], self.read(REGION, *window))
        return self.read_configuration(offset, size)

    def _write_configuration(self, offset: int, size: int, value: int) -> None:
        self.write_configuration(offset, size, value)
        self._settle()
        if offset == self._access + R.CFG_DATA and (window := self._window()) is not None:
            self.write(REGION, *window, self._get(offset, window[1]))

    def _window(self) -> tuple[int, int] | None:
        """Offset and size of the access to BAR 0 that a PCI_CFG capability asks for (4.1.4.9); None: it is none."""
        number, offset, size = (
            self._get(self._access + at, width) for at, width in ((R.CFG_BAR, 1), (R.CFG_OFFSET, 4), (R.CFG_LENGTH, 4))
        )
        valid = number == 0 and size in (1, 2, 4) and offset % size == 0 and offset + size <= R.SIZE
        return (offset, size) if valid else None

    # Input and time

    def tick(self) -> None:
        super().tick()
        if self._common.data_path is not None and self._common.running and not self.msix.enabled:
            self._show(self._interrupt | virtio.USED_BUFFER)

    # Life

    def _reset_device(self) -> None:
        self._common.reset()
        self._clear()
        self._show(0)
        self._settle()

    def reset(self) -> None:
        self._reset_device()
        self.power_on()
        self._settle()

    def save(self) -> State:
        assert self.state_class is not None
        self._collect()
        return self.state_class(
            function=self.save_function(),
            interrupt=self._interrupt,
            chosen=b"".join(vector.to_bytes(2, "little") for vector in self._chosen),
            common=self._common.save(),
            device=self._device.save(),
        )

    def load(self, state: State) -> None:
        assert self.state_class is not None
        saved: Any = state if type(state) is self.state_class else self.state_class.again(state)
        chosen = [int.from_bytes(saved.chosen[at : at + 2], "little") for at in range(0, len(saved.chosen), 2)]
        if len(saved.chosen) != 2 * len(self._chosen):
            raise StateError(f"the saved state has vectors for {len(chosen) - 1} queues, not {len(self._chosen) - 1}")
        self.reset()
        for index, vector in enumerate(chosen):
            self._choose(index, vector)
        self._interrupt = saved.interrupt
        self.load_function(saved.function, asserted=bool(saved.interrupt))
        self._settle()
        self._common.load(saved.common, saved.device)


def connect(device: VirtioDevice, planned: PlannedDevice, notice: Callable[[str], None]) -> Device:
    """The device as the plan has it."""
    kind: Any = type(device)
    return PCI.of(kind)(device, notice, planned.bars, planned.irq)
