"""A Perfetto trace, as its readers see it."""

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

EVENT = protos.TrackEvent


def parsed(path):
    """The packets; a second pass over the wire finds no field that is unknown, or written twice and merged."""
    data = path.read_bytes()
    trace = protos.Trace()
    trace.ParseFromString(data)
    # Perfetto's reader does not merge fields, so a message that is serialised again must be as long.
    assert trace.ByteSize() == len(data)
    return trace.packet


def slices(packets):
    """(track, name, start, end, arguments) of all slices and instants, as a reader of the trace finds them."""
    names, found, open_ = {}, [], {}
    tracks = {}
    for packet in packets:
        for field in ("event_names", "event_categories", "debug_annotation_names"):
            names |= {(field, entry.iid): entry.name for entry in getattr(packet.interned_data, field)}
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid not in tracks
            tracks[track.uuid] = track.thread.thread_name or track.process.process_name or track.name
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        name = event.name or names.get(("event_names", event.name_iid))
        arguments = {
            names["debug_annotation_names", entry.name_iid]: getattr(entry, entry.WhichOneof("value"))
            for entry in event.debug_annotations
        }
        track = tracks[event.track_uuid]
        if event.type == EVENT.TYPE_SLICE_BEGIN:
            assert track not in open_
            open_[track] = (track, name, packet.timestamp, arguments)
        elif event.type == EVENT.TYPE_SLICE_END:
            _, name, start, arguments = open_.pop(track)
            found.append((track, name, start, packet.timestamp, arguments))
        else:
            assert event.type == EVENT.TYPE_INSTANT
            found.append((track, name, packet.timestamp, None, arguments))
    assert not open_
    return found
