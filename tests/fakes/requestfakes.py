"""Requests beside a trace, made up."""

from tests.fakes.tablefakes import write_table
from vmspec.trace.requests import REQUESTS

ZERO = {"device": "serial0", "queue": 0, "head": 0, "kind": "read", "position": 0, "length": 512, "bytes_out": 16,
        "bytes_in": 513, "room": 513, "buffers": 3, "status": "ok"}  # fmt: skip


def request(available, taken, done, **fields):
    """A row without its number."""
    return {**ZERO, "t_available": available, "t_taken": taken, "t_done": done, **fields}


def write_requests(path, rows, **options):
    """Record rows beside a trace, in the order in which they were done."""
    numbered = [{"seq": number, **row} for number, row in enumerate(sorted(rows, key=lambda row: row["t_done"]))]
    return write_table(path, REQUESTS, numbered, **options)
