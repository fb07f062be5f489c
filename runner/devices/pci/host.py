"""The host bridge: the ways to configuration space, by ports (PCI Local Bus 3.0, 3.2.2.3.2) and by memory (ECAM, PCI
Express 4.0, 7.2.2). It is a function of its own, 00:00.0, which a guest finds there but need not program."""

from collections.abc import Mapping
from typing import Any

from runner.devices.device import Board
from runner.devices.pci.function import Function, FunctionState, Identity
from runner.devices.services import Services
from runner.devices.state import State, bits, part
from vmspec import layout
from vmspec.registers import pci as R
from vmspec.registers import q35


class HostState(State):
    """The register that selects, and the bridge's own function."""

    address: int = bits(R.ADDRESS)
    function: FunctionState = part(FunctionState)


class HostBridge(Function):
    """Passes accesses on to the functions' configuration spaces.

    Writing the address register does nothing by itself, so C stores what is written.

    With the chipset Q35 it is that one's host bridge. Its registers say what is so anyway and cannot be written:
    configuration space has its place, and all below 1 MiB is RAM.
    """

    state_class = HostState

    def __init__(self, chipset: str = "none") -> None:
        self._q35 = chipset == "q35"

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> "HostBridge":
        return cls(options["chipset"])

    def attach(self, services: Services) -> None:
        self._functions = services.configuration
        super().attach(services)

    def start(self) -> None:
        if self._q35:
            self.begin(Identity(q35.INTEL, q35.MCH, R.HOST_BRIDGE))
            self.register(q35.PCIEXBAR, 8, layout.Q35_ECAM | q35.PCIEXBAR_ENABLE)
            self.register(q35.PAM, q35.PAMS, int.from_bytes(q35.PAM_RAM, "little"))
        else:
            self.begin(Identity(R.HOST_VENDOR, R.HOST_DEVICE, R.HOST_BRIDGE))
        self.bus.shadow_writes("address", 0, R.ADDRESS, R.PORTS)
        self.reset()

    def _select(self, address: int) -> None:
        self._address = address
        self.bus.shadow("address", 0, address, R.PORTS)

    def read(self, region: str, offset: int, size: int) -> int:
        match region:
            case "address" if size == R.PORTS:
                return self._address
            case "data" if self._address & R.ENABLE:
                return self._functions.read(self._selected + offset, size)
            case "ecam":
                return self._functions.read(offset, size)
            case "configuration":
                return self.read_configuration(offset, size)
        return super().read(region, offset, size)  # nothing answers

    def write(self, region: str, offset: int, size: int, value: int) -> None:
        match region:
            case "address" if size == R.PORTS:
                self._select(value & R.ADDRESS)
            case "address" if self._q35 and (offset, size) == (q35.RESET_CONTROL, 1):
                if value & q35.RESET_CPU:
                    self.end("reset", None)
            case "data" if self._address & R.ENABLE:
                self._functions.write(self._selected + offset, size, value)
            case "ecam":
                self._functions.write(offset, size, value)
            case "configuration":
                self.write_configuration(offset, size, value)

    @property
    def _selected(self) -> int:
        """The selected register's address in configuration space."""
        bus, function, register = self._address >> 16 & 0xFF, self._address >> 8 & 0xFF, self._address & 0xFC
        return bus << R.BUS | function << R.FUNCTION | register

    def reset(self) -> None:
        self.power_on()
        self._select(0)

    def save(self) -> State:
        return HostState(address=self._address, function=self.save_function())

    def load(self, state: State) -> None:
        saved: Any = state if type(state) is HostState else HostState.again(state)
        self.load_function(saved.function, asserted=False)
        self._select(saved.address)
