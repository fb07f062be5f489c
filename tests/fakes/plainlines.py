"""The lines of `vmtrace events` made row by row: the output by batches must be the same, byte for byte."""

import json

from tracer.decode import Decoder, first_item
from tracer.decode.decoder import place
from tracer.format.schema import flag_names
from tracer.show.events import READABLE
from tracer.show.output import duration
from vmspec.host.printable import printable
from vmspec.trace.record import FLAGS


def rows(table_rows, machines=None):
    """The trace's rows with what is computed of them; each machine's exits are decoded in their order."""
    decoders = {}
    for row in table_rows:
        decoder = decoders.setdefault((machines or {}).get(row["vcpu"], ""), Decoder())
        what, meaning = decoder.decode(
            row["reason"], row["addr"], row["size"], row["direction"], first_item(row), row["device"]
        )
        if row["flags"] & FLAGS["UNCLAIMED"] and row["direction"] == "read":
            meaning = ""
        made = {
            "handling_ns": row["t_entry"] - row["t_exit"],
            "what": what or place(row["reason"], row["addr"], row["device"]),
            "rw": {"read": "r", "write": "w"}.get(row["direction"], ""),
            "meaning": meaning,
        }
        yield row | made | {"value": _value(row, meaning)}


def _value(row, meaning):
    if row["direction"] == "none" or row["count"] == 0:
        return f"{row['data']:#x}" if row["data"] else ""
    if row["count"] > 1:
        data = row["payload"] or row["data"].to_bytes(8, "little")[: row["size"] * row["count"]]
        return f"{row['count']} x {row['size']}: {data[:16].hex()}{'...' if len(data) > 16 else ''}"
    return f"{first_item(row):#0{2 + 2 * min(row['size'], 8)}x}" + (f" {meaning}" if meaning else "")


def line(row, columns=tuple(READABLE)):
    """A row of :func:`rows` as a line with its newline."""
    text, end = "", -1
    for name in columns:
        width, right = READABLE[name]
        end += width + 1
        cell = _cell(row, name)
        text += (cell.rjust(end - len(text)) if right else cell.ljust(end - len(text))) + " "
    return text.rstrip(" ") + "\n"


def _cell(row, name):
    match name:
        case "t_exit":
            return "{}.{:09d}".format(*divmod(row["t_exit"], 10**9))
        case "handling_ns":
            return duration(row["handling_ns"])
        case "rip":
            return f"{row['rip']:x}" if row["flags"] & FLAGS["RIP"] else "-"
        case "flags":
            return " ".join(flag for flag in flag_names(row["flags"]) if flag not in ("RIP", "PAYLOAD"))
    return printable(str(row[name]))


def json_line(row):
    """A row of :func:`rows` as a JSON object with its newline."""
    texts = {"flags": flag_names(row["flags"]), "payload": row["payload"].hex()}
    texts |= {name: hex(row[name]) for name in ("rip", "addr", "data")}
    return json.dumps(row | texts) + "\n"
