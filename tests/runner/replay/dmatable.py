"""Tables of DMA that are not as they were recorded."""

import shutil

import tracer
from tracer.record.writer import TableWriter
from vmspec.trace.dma import DMA
from vmspec.trace.files import BESIDE, exists, table_path


def rewritten(trace, folder, change, **summary):
    """A copy of a trace in a folder, whose rows of DMA are those that ``change`` makes of them."""
    folder.mkdir(exist_ok=True)
    path = folder / trace.name
    shutil.copy(trace, path)
    for table in BESIDE:
        if exists(table_path(trace, table)):
            shutil.copy(table_path(trace, table), table_path(path, table))
    table = tracer.load(trace).tables["dma"]
    writer = TableWriter(path, DMA, table.metadata)
    rows = change(table.table.to_pylist())
    writer.append(rows)
    writer.finish({"rows": len(rows), **summary})
    return path


WIDTHS = {"vcpu": 16, "seq": 64, "addr": 64, "t": 63}


def flipped(random):
    """Flips a bit: half of them in the bytes."""

    def change(rows):
        row = random.choice([row for row in rows if row["direction"] == "write"])
        if random.random() < 0.5:
            at = random.randrange(8 * len(row["data"]))
            data = bytearray(row["data"])
            data[at // 8] ^= 1 << at % 8
            row["data"] = bytes(data)
        else:
            name = random.choice([*WIDTHS])
            row[name] ^= 1 << random.randrange(WIDTHS[name])
        return rows

    return change
