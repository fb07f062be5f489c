"""A machine that goes on from a snapshot."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.boot import Images, modes
from runner.devices.state import StateError
from runner.kvm.errors import HostError, KvmError
from runner.machine.machine import Machine
from runner.memory import GuestMemory
from runner.snapshot.chain import Chain, check
from runner.snapshot.errors import SnapshotError
from runner.snapshot.planning import checked, explicit, planned
from runner.snapshot.states import from_tree
from runner.x86.state import State
from vmspec.plan.plan import Plan


class Restoring:
    """The start of a machine from the snapshot in a file. ``overrides`` are expressions of --set. Raises SnapshotError,
    SpecError."""

    def __init__(self, path: Path, overrides: Sequence[str] | str = ()) -> None:
        self._chain = Chain(path)
        try:
            self._contents = self._chain.contents
            self.plan = planned(self._contents, path.absolute(), overrides, Path.cwd())
            files = {file.where: (file.size, file.written) for file in self._contents.files}
            checked(self.plan, files, explicit(overrides))
        except BaseException:
            self.close()
            raise

    @property
    def states(self) -> Mapping[str, Any]:
        """The devices' states by their names, as :mod:`runner.snapshot.states` writes them."""
        return self._contents.devices

    def load(self, plan: Plan, memory: GuestMemory, images: Images) -> State:
        """Have the guest's memory read as the snapshot's, in place of :func:`runner.boot.load`. A page is read when the
        guest first uses it."""
        parts = self._chain.memory()
        check(parts)
        for snapshot, extent in parts:
            try:
                memory.fill(extent.address, extent.size, snapshot.descriptor, extent.offset)
            except ValueError as error:
                raise snapshot.damaged(f"its memory: {error}") from error
            except OSError as error:
                raise HostError(f"{snapshot.path} cannot be mapped into the guest: {error.strerror}") from error
        return modes.state(plan.entry)  # in which the vCPUs are until restore()

    def restore(self, machine: Machine) -> None:
        """Put a machine whose devices are attached into the snapshot's state. Interrupt controllers come before the
        vCPUs, whose local APICs have what those have sent; devices come last, because they go on at once. Raises
        SnapshotError, HostError, KvmError, and what a user's device raises."""
        saved = self._contents
        saved.check_host(machine)
        machine.restored = Path(os.path.realpath(self._chain.newest.path))  # of a copy, a memory file
        for written in saved.written:
            self._write_back(machine, written.device)
        try:
            if saved.controllers is not None:
                saved.controllers.restore(machine.vm)
            for vcpu, state in zip(machine.vcpus, saved.vcpus, strict=True):
                state.restore(vcpu)
                vcpu.run.cr8 = vcpu.task_priority()
        except KvmError as error:
            raise SnapshotError(f"this host's KVM does not take {self._chain.newest.path}: {error}") from error
        if machine.time is not None and saved.time is not None:
            machine.time.words.now = saved.time.now  # devices' timers follow it
        self._load_devices(machine)
        self._set_time(machine)

    def _set_time(self, machine: Machine) -> None:
        saved = self._contents
        if machine.time is None or saved.time is None:
            machine.guest_time.set(saved.clocks)
            return
        try:
            machine.time.load(saved.time, machine.vcpus[0])
        except OverflowError as error:
            raise self._chain.newest.damaged(f"its time: {error}") from error

    def _load_devices(self, machine: Machine) -> None:
        states = {}
        try:
            for planned, device in zip(machine.plan.devices, machine.buses.devices, strict=True):
                if device.state_class is None:
                    raise StateError(f"{planned.name} cannot be loaded: it has no state_class")
                states[planned.name] = from_tree(device.state_class, self.states.get(planned.name))
            machine.buses.load(states)
        except StateError as error:
            raise self._chain.newest.damaged(str(error)) from error

    def _write_back(self, machine: Machine, name: str) -> None:
        private = machine.private.get(name)
        if private is None:
            raise self._chain.newest.damaged(f"{name} has no contents of its own")
        parts = self._chain.written(name)
        check(parts)
        for snapshot, extent in parts:
            try:
                for address, data in snapshot.pieces(extent):
                    private.take_back(address, data)
            except OSError as error:
                raise SnapshotError(f"what the guest wrote to {name} cannot be restored: {error.strerror}") from error

    def close(self) -> None:
        """Close the files."""
        self._chain.close()
