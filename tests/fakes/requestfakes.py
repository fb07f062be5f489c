"""Requests beside a trace, made up."""

from tests.fakes.tablefakes import write_table
from tests.fakes.tracefakes import DEVICES, TSC_KHZ, TSC_START
from vmspec.trace.requests import KINDS, REQUESTS, STATUSES

ZERO = {"device": "serial0", "queue": 0, "head": 0, "kind": "read", "position": 0, "length": 512, "bytes_out": 16,
        "bytes_in": 513, "room": 513, "buffers": 3, "status": "ok"}  # fmt: skip


def request(available, taken, done, **fields):
    """A row without its number."""
    return {**ZERO, "t_available": available, "t_taken": taken, "t_done": done, **fields}


def write_requests(path, rows, **options):
    """Record rows beside a trace, in the order in which they were done."""
    numbered = [{"seq": number, **row} for number, row in enumerate(sorted(rows, key=lambda row: row["t_done"]))]
    return write_table(path, REQUESTS, numbered, **options)


def record_of(number, **fields):
    """A record of a request whose every field follows from its number."""
    at = TSC_START + 1000 * TSC_KHZ // 1_000_000 * number
    values = {
        "tsc_available": at + 100,
        "tsc_taken": at + 200 + number % 7,
        "tsc_done": at + 300 + number % 50,
        "position": number << 20,
        "length": number * 512,
        "bytes_out": number,
        "bytes_in": number * 3,
        "room": number * 5,
        "buffers": 1 + number % 4,
        "device": number % len(DEVICES),
        "queue": number % 5,
        "head": number % 64,
        "kind": number % len(KINDS),
        "status": number % len(STATUSES),
    }
    return values | fields


def row_of(number, **fields):
    """The row that it becomes."""
    values = record_of(number, **fields)
    found = {"seq": number, "device": DEVICES[values["device"]]}
    found |= {"kind": [*KINDS][values["kind"]], "status": [*STATUSES][values["status"]]}
    found |= {
        name: (values[field] - TSC_START) * 1_000_000 // TSC_KHZ for name, field in REQUESTS.records.times.items()
    }
    return {column.name: found.get(column.name, values.get(column.name)) for column in REQUESTS.columns}
