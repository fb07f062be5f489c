"""Generates the C of a trace's tables from vmspec/trace: the text for the compiler and the text for cffi.

``record.h`` has the structs of a record and of a batch's columns, and a function per table that fills a row. So a
column needs one line of C: the one that fills its field of the record.
"""

from collections.abc import Iterable, Iterator
from typing import get_args

from vmspec.plan.calls import Call
from vmspec.trace import dma, record, requests, tracepoints
from vmspec.trace.table import Column, Field, Records, Table

CTYPES = {
    "int8": "int8_t",
    "int16": "int16_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
    "uint64": "uint64_t",
    "int64": "int64_t",
    "binary": "int32_t",  # offsets into the bytes
}
TABLES = (record.EXITS, tracepoints.TRACEPOINTS, requests.REQUESTS, dma.DMA)  # the tables whose rows come from C
RECORDED = tuple((table, table.records) for table in TABLES if table.records is not None)
STRUCTS = {
    **{records.name: records.fields for _, records in RECORDED},
    "ring_control": record.RING,
    "ring_pause": record.PAUSE,
}


def header() -> str:
    """The text of record.h."""
    return "\n".join(
        (
            "/* Written by runner/native/build.py from vmspec/trace. */",
            "#ifndef VMRUN_RECORD_H",
            "#define VMRUN_RECORD_H",
            '#include "tsc.h"',
            *_structs(comments=True),
            *(f"#define FLAG_{name} {bit}" for name, bit in record.FLAGS.items()),
            *(f"#define DIRECTION_{name.upper()} {code}" for code, name in enumerate(record.DIRECTIONS)),
            f"#define REASONS {len(record.REASONS)}",
            f"#define VMRUN_PAGE {record.PAGE}",
            f"#define PAUSES_AT {record.PAUSES_AT}",
            f"#define PAUSES {record.PAUSES}",
            *(
                f'_Static_assert(sizeof(struct {records.name}) == {record.RECORD_SIZE}, "the size of a record");'
                for _, records in RECORDED
            ),
            *_enum("request_kind", requests.KINDS),
            *_enum("request_status", requests.STATUSES),
            f"enum perf_slot {{ {', '.join(_slot(name) for name in tracepoints.SLOTS)}, SLOTS }};",
            *(line for table, records in RECORDED for line in _put(table, records)),
            *_tracepoints_put(),
            *_swap(tracepoints.TRACEPOINTS),
            *_swap(requests.REQUESTS),
            "#endif",
            "",
        )
    )


def declarations() -> str:
    """The same structs for cffi, and the constants that a plan's calls name."""
    names = (*kvm_names(), *_codes(requests.KINDS), *_codes(requests.STATUSES))
    return "\n".join((*(f"#define {name} ..." for name in names), *_structs(comments=False)))


def kvm_names() -> list[str]:
    """The ioctls of a plan's calls, and the capabilities that they require."""
    names = {name for call in get_args(Call) for name in (call.ioctl, call.requires) if name is not None}
    return sorted(name for name in names if name.startswith("KVM_"))


def _structs(*, comments: bool) -> Iterator[str]:
    for name, fields in STRUCTS.items():
        yield from _struct(name, fields, comments)
    for table in TABLES:
        yield from _struct(f"{table.name}_columns", _pointers(table), comments)


def _struct(name: str, fields: Iterable[Field], comments: bool) -> Iterator[str]:
    yield f"struct {name} {{"
    for field in fields:
        if comments:
            yield f"    /* {field.doc} */"
        yield f"    {field.ctype} {field.name};"
    yield "};"


def _pointers(table: Table) -> Iterator[Field]:
    """The columns of one batch in C: a pointer to the values of each."""
    for column in table.columns:
        yield Field(f"*{column.name}", CTYPES[column.type], column.doc)
    if any(column.type == "binary" for column in table.columns):
        yield Field("*bytes", "uint8_t", "what the offsets of the column of bytes count in")
        yield Field("bytes_capacity", "uint64_t", "room for so many")
    yield Field("rows", "uint64_t", "room for so many rows")


def _codes(names: Iterable[str]) -> list[str]:
    """The constants of some names' codes."""
    return [f"REQUEST_{name.upper().replace('-', '_')}" for name in names]


def _enum(name: str, names: Iterable[str]) -> Iterator[str]:
    """The codes of a column of names."""
    yield f"enum {name} {{"
    yield from (f"    {code}," for code in _codes(names))
    yield f"    {name.upper()}_END"
    yield "};"


def _put(table: Table, records: Records) -> Iterator[str]:
    """Write a record as a row; the caller fills the column of bytes."""
    yield f"static inline void {table.name}_put(const struct {table.name}_columns *to, uint64_t row,"
    yield f"                                    const struct {records.name} *record, uint64_t number, uint32_t ring,"
    yield "                                    uint64_t tsc_start, uint64_t tsc_khz)"
    yield "{"
    for column in table.columns:
        if column.type != "binary":
            yield f"    to->{column.name}[row] = ({CTYPES[column.type]})({_of_record(column, records)});"
    yield "}"


def _of_record(column: Column, records: Records) -> str:
    """The expression for a column."""
    match column.name:
        case records.number:
            return "number"
        case records.ring:
            return "ring"
        case name if name in records.times:
            return f"nanoseconds(record->{records.times[name]}, tsc_start, tsc_khz)"
        case name:
            return f"record->{name}" + (f" + {column.fixed_codes}" if column.fixed_codes else "")


def _slot(name: str) -> str:
    return f"SLOT_{name.upper()}"


def _tracepoints_put() -> Iterator[str]:
    """The columns for an event's fields."""
    yield "static inline void tracepoints_put(const struct tracepoints_columns *to, uint64_t row,"
    yield "                                   const uint64_t *slots)"
    yield "{"
    names = [column.name for column in tracepoints.COLUMNS]
    for slot in tracepoints.SLOTS:
        if slot in names:
            yield f"    to->{slot}[row] = slots[{_slot(slot)}];"
    yield "}"


def _swap(table: Table) -> Iterator[str]:
    """Swap two rows."""
    yield f"static inline void {table.name}_swap(const struct {table.name}_columns *to, uint64_t i, uint64_t j)"
    yield "{"
    for column in table.columns:
        held = f"{CTYPES[column.type]} {column.name} = to->{column.name}[i]"
        yield f"    {held};"
        yield f"    to->{column.name}[i] = to->{column.name}[j];"
        yield f"    to->{column.name}[j] = {column.name};"
    yield "}"
