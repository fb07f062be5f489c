"""The tree of a machine."""

from typing import Any

from runner.control.inspection.states import plain
from runner.control.inspection.tree import Later, Still, Tree, hexadecimal
from runner.control.subject import Subject
from runner.devices.state import StateError
from runner.machine.bus import Buses
from runner.x86.mode import mode
from vmspec.host.pathtext import to_text
from vmspec.trace.record import REASONS


def tree(subject: Subject) -> Tree:
    """The whole machine. What is not :class:`Still` is read at once, while the guest runs."""
    return {
        "machine": _machine(subject),
        "vcpus": {str(index): _vcpu(subject, index) for index in range(len(subject.machine.vcpus))},
        "memory": _memory(subject),
        "devices": {
            planned.name: _device(subject.machine.buses, subject, index)
            for index, planned in enumerate(subject.machine.plan.devices)
        },
        "counters": counters(subject),
    }


def counters(subject: Subject) -> dict[str, Any]:
    """Exits by reason and by the device that answered them, what became of their records, and the requests that each
    queue has given back. Another process serves the queues of a vhost-user device, and they stay at 0."""
    machine, rings = subject.machine, subject.rings
    by_reason = [sum(column) for column in zip(*machine.counts(), strict=True)]
    planned = machine.plan.devices
    return {
        "exits": _by_reason(by_reason),
        "devices": {device.name: count for device, count in zip(planned, machine.buses.exits(), strict=True)},
        "queues": {f"{planned[queue.device].name} queue {queue.number}": queue.done for queue in machine.queues},
        "dropped": sum(rings.counters("dropped")),
        "interrupted": sum(rings.counters("interrupted")),
    }


def _by_reason(counts: list[int]) -> dict[str, int]:
    return {REASONS[n] if n < len(REASONS) else f"exit_{n}": count for n, count in enumerate(counts) if count}


def _machine(subject: Subject) -> Tree:
    machine, plan = subject.machine, subject.machine.plan
    return {
        "name": subject.name,
        "state": str(machine.state),
        "seconds": subject.rings.elapsed() / 1e9,
        "timeout": plan.vm.timeout / 1e9 if plan.vm.timeout else None,
        "spec": to_text(plan.path) if plan.path else None,
        "trace": to_text(plan.trace.path) if plan.trace.path else None,
        "image": plan.image,
        "protocol": plan.protocol,
        "cmdline": plan.cmdline,
    }


def _vcpu(subject: Subject, index: int) -> Tree:
    found: dict[str, Any] = {
        "exits": _by_reason(subject.machine.counts()[index]),
        "recorded": subject.rings.counters("head")[index],
        "registers": Still(lambda: _registers(subject, index)),
    }
    statistics = subject.machine.stats()
    if statistics:
        found["kvm"] = {name: value for name, value in statistics[index].items() if value}
    return found


def _registers(subject: Subject, index: int) -> Tree:
    registers = subject.machine.vcpus[index].registers()
    state = registers.state
    control = {"cr0": state.cr0, "cr2": registers.cr2, "cr3": state.cr3, "cr4": state.cr4, "efer": state.efer}
    return {
        "mode": mode(state),
        "in": Later(lambda: subject.symbol(registers.general["rip"])),
        **{name: hexadecimal(value) for name, value in (registers.general | control).items()},
        "segments": {
            name: {
                "selector": hexadecimal(segment.selector, 2),
                "base": hexadecimal(segment.base),
                "limit": hexadecimal(segment.limit, 4),
                "type": hexadecimal(segment.type, 1),
                "dpl": segment.dpl,
                "present": segment.present,
            }
            for name, segment in state.segments.items()
        },
        "tables": {
            name: {"base": hexadecimal(table.base), "limit": hexadecimal(table.limit, 2)}
            for name, table in (("gdt", state.gdt), ("idt", state.idt))
        },
    }


def _memory(subject: Subject) -> Tree:
    plan = subject.machine.plan
    return {
        "ram": plan.vm.memory,
        "backing": plan.memory.backing,
        "pages": plan.memory.pages,
        "map": {
            hexadecimal(area.start): {"name": area.name, "kind": area.kind, "size": hexadecimal(area.size)}
            for area in plan.areas
        },
    }


def _device(buses: Buses, subject: Subject, index: int) -> Tree:
    planned = subject.machine.plan.devices[index]
    regions = {
        place.region.name: {
            "space": place.region.space,
            "start": None if (start := buses.regions.start(number)) is None else hexadecimal(start),
            "size": hexadecimal(place.region.size),
        }
        for number, place in enumerate(buses.places)
        if place.device == index
    }
    return {
        "kind": planned.kind,
        "irq": planned.irq,
        "transport": planned.transport,
        "exits": buses.exits()[index],
        "regions": regions,
        "state": Still(lambda: _state(buses, subject, index)),
    }


def _state(buses: Buses, subject: Subject, index: int) -> Any:
    """Its registers, or why it has none to show: a user's device need not be able to save them."""
    try:
        return plain(buses.state(index), subject.machine.memory)
    except StateError as error:
        return str(error)
    except BaseException as error:  # a user's device may raise anything; that it cannot be shown ends no run
        return f"its save() raised {error!r}"
