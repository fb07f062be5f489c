"""Perfetto's protobuf trace, for https://ui.perfetto.dev and trace_processor.

The messages are Perfetto's own (protos/perfetto/trace in its source), from the Python package ``perfetto``. A trace is
a list of packets, each with tag and length, so they can be written one by one. The common part of many events is
serialised once and joined to the rest within one ``TrackEvent``. Only list fields are written twice: protobuf would
merge two of another field, Perfetto's reader takes the last.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO

from tracer.export import requests, tracepoints
from tracer.export.rows import KVM_RUN, PAUSED, Exit, Stay, Targets, flag_text, stays, title
from tracer.format.errors import TraceError
from tracer.read.console import Console
from tracer.read.reader import Trace
from vmspec.host.printable import printable
from vmspec.trace.record import NO_DEVICE

PROCESS = 1  # uuid of the virtual machine's track, and its pid
VCPU = 1 << 32  # uuids of the vCPUs' tracks: this, and the vCPU's index
DEVICE = 2 << 32  # of the tracks of a device and a vCPU: this, and a number
CONSOLE = 3 << 32
KVM = 4 << 32  # of the tracks of a vCPU in the tracepoints: this, and the vCPU's index
REQUESTS = 5 << 32  # of the lanes of the queues: this, and a number
SEQUENCE = 1  # the only sequence of packets, within which names are interned
KNOWN = 1 << 16  # serialised beginnings of events that are cached


def write(trace: Trace, out: BinaryIO) -> None:
    """Write tracks: one per vCPU (in KVM_RUN, paused, handling an exit), one per device and vCPU that used it, one for
    the console's lines, one per vCPU with its tracepoints and one per virtio queue with its requests, if they were
    recorded."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError:
        raise TraceError("perfetto is not installed: pip install perfetto (vmrun's extra: perfetto)") from None
    _Writer(perfetto_trace_pb2, out).write(trace)


class _Writer:
    def __init__(self, protos: Any, out: BinaryIO) -> None:
        self._protos, self._out = protos, out
        self._names: dict[tuple[str, str], int] = {}
        self._begin = lru_cache(KNOWN)(self._serialised)
        self._end = lru_cache(KNOWN)(self._ended)

    def write(self, trace: Trace) -> None:
        self._head(trace)
        tracks: dict[tuple[str, int], int] = {}
        known: set[int] = set()
        targets = Targets(trace)
        for row in stays(trace):
            vcpu = VCPU + row.vcpu
            if row.vcpu not in known:
                known.add(row.vcpu)
                # The tid of a main thread is its pid, and no vCPU has that.
                thread = self._protos.ThreadDescriptor(
                    pid=PROCESS, tid=PROCESS + 1 + row.vcpu, thread_name=f"vCPU {row.vcpu}"
                )
                self._track(uuid=vcpu, parent_uuid=PROCESS, thread=thread)
            if isinstance(row, Stay):
                if row.stop > row.start:
                    self._slice(vcpu, self._begin(vcpu, row.name), b"", row.start, row.stop)
                continue
            target = targets.of(row)
            facts = row.addr, row.size, row.items, row.flags, target
            arguments = self._arguments(row)
            begin = self._begin(vcpu, title(row.reason, row.device, row.direction), *facts)
            self._slice(vcpu, begin, arguments, row.t_exit, row.t_entry)
            if row.device != NO_DEVICE:
                track = tracks.get((row.device, row.vcpu))
                if track is None:
                    track = tracks[row.device, row.vcpu] = DEVICE + len(tracks)
                    self._track(uuid=track, parent_uuid=PROCESS, name=f"{row.device}, vCPU {row.vcpu}")
                # Ports are few; guest-physical addresses would need a name per event.
                name = f"{row.direction} {target}" if row.reason == "io" else f"{row.reason} {row.direction}"
                self._slice(track, self._begin(track, name, *facts), arguments, row.t_exit, row.t_entry)
        self._console(trace)
        self._tracepoints(trace)
        self._requests(trace)

    def _head(self, trace: Trace) -> None:
        protos = self._protos
        clear = protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        boot, monotonic = protos.BUILTIN_CLOCK_BOOTTIME, protos.BUILTIN_CLOCK_MONOTONIC
        clocks = [protos.ClockSnapshot.Clock(clock_id=clock, timestamp=0) for clock in (boot, monotonic)]
        self._packet(clock_snapshot=protos.ClockSnapshot(primary_trace_clock=boot, clocks=clocks))
        defaults = protos.TracePacketDefaults(timestamp_clock_id=boot)
        self._packet(sequence_flags=clear, trace_packet_defaults=defaults)
        vm = trace.spec.get("vm")
        name = vm.get("name") if isinstance(vm, dict) else None
        process = protos.ProcessDescriptor(pid=PROCESS, process_name=printable(f"vmrun {name or trace.path.name}"))
        self._track(uuid=PROCESS, process=process)

    def _console(self, trace: Trace) -> None:
        console = Console(trace, trace.devices)
        lines = console.lines()
        if lines:
            self._track(uuid=CONSOLE, parent_uuid=PROCESS, name=f"console ({', '.join(console.devices)})")
        for line in lines:
            event = self._protos.TrackEvent(
                type=self._protos.TrackEvent.TYPE_INSTANT, track_uuid=CONSOLE, name=line.text, categories=["console"]
            )
            self._timed(line.t, event.SerializeToString())

    def _tracepoints(self, trace: Trace) -> None:
        """A track per vCPU for what it did in KVM_RUN, with the events."""
        known: set[int] = set()
        for span in tracepoints.slices(trace):
            track = KVM + span.vcpu
            if span.vcpu not in known:
                known.add(span.vcpu)
                self._track(uuid=track, parent_uuid=PROCESS, name=f"vCPU {span.vcpu}, KVM")
            event = self._protos.TrackEvent()
            self._annotate(event, span.facts)
            self._slice(track, self._begin(track, span.name), event.SerializeToString(), span.start, span.stop)
        for moment in tracepoints.moments(trace):
            track = KVM + moment.vcpu
            if moment.vcpu not in known:
                known.add(moment.vcpu)
                self._track(uuid=track, parent_uuid=PROCESS, name=f"vCPU {moment.vcpu}, KVM")
            event = self._protos.TrackEvent(
                type=self._protos.TrackEvent.TYPE_INSTANT, track_uuid=track, name=moment.name, categories=["kvm"]
            )
            self._annotate(event, moment.facts)
            self._timed(moment.t, event.SerializeToString())

    def _requests(self, trace: Trace) -> None:
        """A track per queue. Slices of one track must not overlap, so it has one per lane, all of one name, which
        Perfetto shows as one."""
        tracks: dict[tuple[str, int, int], int] = {}
        for one in requests.slices(trace):
            place = one.device, one.queue, one.lane
            track = tracks.get(place)
            if track is None:
                track = tracks[place] = REQUESTS + len(tracks)
                self._track(uuid=track, parent_uuid=PROCESS, name=f"{one.device}, queue {one.queue}")
            event = self._protos.TrackEvent()
            for name, value in one.facts.items():
                kind = {"string_value": value} if isinstance(value, str) else {"uint_value": value}
                event.debug_annotations.add(name_iid=self._annotation(name), **kind)
            self._slice(track, self._begin(track, one.name), event.SerializeToString(), one.start, one.stop)

    def _annotate(self, event: Any, facts: Mapping[str, int | str]) -> None:
        for name, value in facts.items():
            kind = {"string_value": value} if isinstance(value, str) else {"pointer_value": value}
            event.debug_annotations.add(name_iid=self._annotation(name), **kind)

    def _slice(self, track: int, begin: bytes, arguments: bytes, start: int, stop: int) -> None:
        self._timed(start, begin + arguments)
        self._timed(max(start, stop), self._end(track))

    def _ended(self, track: int) -> bytes:
        event = self._protos.TrackEvent(type=self._protos.TrackEvent.TYPE_SLICE_END, track_uuid=track)
        serialised: bytes = event.SerializeToString()
        return serialised

    def _serialised(self, track: int, name: str, *facts: Any) -> bytes:
        """The beginning of a slice: its track, name, category, and the arguments that many exits share."""
        event = self._protos.TrackEvent(
            type=self._protos.TrackEvent.TYPE_SLICE_BEGIN,
            track_uuid=track,
            name_iid=self._named("event_names", name),
            category_iids=[self._named("event_categories", _category(track, name, bool(facts)))],
        )
        if facts:
            addr, size, count, flags, target = facts
            if target:
                event.debug_annotations.add(name_iid=self._annotation("what"), string_value=target)
            event.debug_annotations.add(name_iid=self._annotation("addr"), pointer_value=addr)
            event.debug_annotations.add(name_iid=self._annotation("size"), uint_value=size)
            event.debug_annotations.add(name_iid=self._annotation("count"), uint_value=count)
            event.debug_annotations.add(name_iid=self._annotation("flags"), string_value=flag_text(flags))
        serialised: bytes = event.SerializeToString()
        return serialised

    def _arguments(self, row: Exit) -> bytes:
        """The arguments of a single exit."""
        event = self._protos.TrackEvent()
        event.debug_annotations.add(name_iid=self._annotation("seq"), uint_value=row.seq)
        event.debug_annotations.add(name_iid=self._annotation("data"), pointer_value=row.data)
        event.debug_annotations.add(name_iid=self._annotation("rip"), pointer_value=row.rip)
        if row.payload:
            event.debug_annotations.add(name_iid=self._annotation("payload"), string_value=row.payload.hex())
        serialised: bytes = event.SerializeToString()
        return serialised

    def _annotation(self, name: str) -> int:
        return self._named("debug_annotation_names", name)

    def _named(self, kind: str, name: str) -> int:
        """The number of a name on this sequence; a new name is written first."""
        number = self._names.get((kind, name))
        if number is None:
            number = self._names[kind, name] = len(self._names) + 1
            data = self._protos.InternedData()
            getattr(data, kind).add(iid=number, name=name)
            self._packet(interned_data=data)
        return number

    def _track(self, **fields: Any) -> None:
        self._packet(track_descriptor=self._protos.TrackDescriptor(**fields))

    def _packet(self, **fields: Any) -> None:
        packet = self._protos.TracePacket(trusted_packet_sequence_id=SEQUENCE, **fields)
        self._put(packet.SerializeToString())

    def _timed(self, t: int, event: bytes) -> None:
        """An event at a time: TracePacket's fields timestamp (8), trusted_packet_sequence_id (10), track_event (11) and
        sequence_flags (13, SEQ_NEEDS_INCREMENTAL_STATE: its names are interned)."""
        self._put(b"\x40" + _varint(max(t, 0)) + b"\x50\x01\x5a" + _varint(len(event)) + event + b"\x68\x02")

    def _put(self, packet: bytes) -> None:
        """Trace's field packet (1)."""
        self._out.write(b"\x0a" + _varint(len(packet)) + packet)


def _category(track: int, name: str, exits: bool) -> str:
    """The category of a slice."""
    if track >= REQUESTS:
        return "request"
    return "exit" if exits else name if name in (KVM_RUN, PAUSED) else KVM_RUN


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the highest bit set in all but the last (Protocol Buffers, encoding)."""
    if value < len(_SHORT):
        return _SHORT[value]
    return _PAIRS[value & 0x3FFF] + _varint(value >> 14)


_PAIRS = [bytes([value & 0x7F | 0x80, value >> 7 | 0x80]) for value in range(1 << 14)]
_SHORT = [bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80, value >> 7]) for value in range(1 << 14)]
