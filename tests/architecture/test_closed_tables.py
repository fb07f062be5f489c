"""Tables that more than one place must agree on: a row that is missing in one of them is named."""

import ast
import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import runner.commands
import tracer
import tracer.commands
from runner.cli import VERBS
from runner.devices import TABLE, Device
from runner.devices.virtio.device import VirtioDevice
from runner.machine.result import CRASHED, INTERRUPTED, OK, TIMED_OUT, UNRECORDED, Ending, status
from tracer.analysis.tracepoint_details import DETAILS, WITHOUT_DETAIL
from tracer.cli import COMMANDS
from tracer.decode import named
from tracer.decode.cpuid import LEAVES
from tracer.decode.mmio import LAPIC
from tracer.decode.msr import BITS, MSRS
from vmspec.devices import models
from vmspec.plan.features import FEATURES
from vmspec.plan.settings import PlannedExpect
from vmspec.registers import cpuid, lapic, system
from vmspec.trace import keys
from vmspec.trace.ends import CRASHES, DEVICE_ENDS, ENDS, KINDS, EndKind
from vmspec.trace.events import EVENTS
from vmspec.trace.record import FLAG_DOCS, FLAGS, REASONS
from vmspec.trace.tables import TABLES

ROOT = Path(__file__).parents[2]


def missing(table, wanted):
    """Names that a table lacks."""
    return sorted(set(wanted) - set(table))


# Kinds of end


def test_every_kind_of_end_has_its_row():
    assert (missing(KINDS, get_args(EndKind)), missing(get_args(EndKind), KINDS)) == ([], [])


def test_what_a_device_may_end_a_run_with_is_a_kind_of_end():
    assert missing(KINDS, DEVICE_ENDS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_end_has_an_exit_status(kind):
    code = status(PlannedExpect(), Ending(kind), ())
    assert code in ({CRASHED} if kind in CRASHES else {OK, TIMED_OUT, UNRECORDED, INTERRUPTED, 2, 3})
    assert status(PlannedExpect(exit=(kind,)), Ending(kind), ()) == (OK if kind in ENDS or kind in CRASHES else code)


# Kinds of device


def test_every_kind_of_device_has_its_model_in_the_runner():
    assert (missing(TABLE, models.KINDS), missing(models.KINDS, TABLE)) == ([], [])


@pytest.mark.parametrize("kind", TABLE)
def test_the_model_of_a_kind_of_device_is_there(kind):
    module, name = TABLE[kind]
    assert issubclass(getattr(import_module(f"runner.devices.{module}"), name), Device | VirtioDevice)


def test_every_model_of_a_spec_is_a_kind_of_device():
    named = {model.__name__ for model in get_args(models.Device)}
    assert missing((model.__name__ for model in models.KINDS.values()), named) == []


# Exits


# Exits of Linux 6.17 that the header here may be too old for.
NEWER = {
    "riscv_sbi": 35,
    "riscv_csr": 36,
    "notify": 37,
    "loongarch_iocsr": 38,
    "memory_fault": 39,
    "tdx": 40,
    "arm_sea": 41,
}


def header() -> dict[str, int]:
    """KVM_EXIT_* of linux/kvm.h, in lower case, without the constants of an exit's details (KVM_EXIT_IO_IN)."""
    text = Path("/usr/include/linux/kvm.h").read_text()
    found = {name.lower(): int(number) for name, number in re.findall(r"#define KVM_EXIT_(\w+)\s+(\d+)\b", text)}
    details = {name for name in found if any(name.startswith(f"{other}_") for other in found)}
    return NEWER | {name.removeprefix("x86_"): number for name, number in found.items() if name not in details}


def test_every_exit_that_the_header_knows_has_its_row():
    assert missing(REASONS, header()) == []


def test_the_reasons_are_the_kernels_numbers():
    known = header()
    assert {name: number for number, name in enumerate(REASONS) if known.get(name, number) != number} == {}


def test_every_flag_is_documented():
    assert (missing(FLAG_DOCS, FLAGS), missing(FLAGS, FLAG_DOCS)) == ([], [])


# Commands


@pytest.mark.parametrize(("package", "commands"), [(tracer.commands, COMMANDS), (runner.commands, VERBS)])
def test_every_module_of_a_command_is_a_command(package, commands):
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")} - {"__init__"}
    assert (missing(commands, modules), missing(modules, commands)) == ([], [])


# Keys of the metadata


def written_keys() -> dict[str, str]:
    """Every text in the packages that looks like a key of the metadata, and a file that has it."""
    former = {old for table in TABLES.values() if table.former is not None for old in table.former.keys}
    others = {"vmrun.path", "vmrun.printable"}  # error handlers of codecs
    found = {}
    for package in ("vmspec", "runner", "tracer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Constant(value=str(text)) if re.fullmatch(r"vmrun\.[a-z][a-z0-9_.]*", text):
                        if text not in former | others:
                            found[text] = str(path.relative_to(ROOT))
    return found


def test_keys_of_the_metadata_are_written_in_one_place():
    written = written_keys()
    elsewhere = {key: path for key, path in written.items() if path != "vmspec/trace/keys.py"}
    assert (elsewhere, missing(keys.KEYS, written)) == ({}, [])


def test_every_constant_of_a_key_has_its_row():
    named = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    assert (missing(keys.KEYS, named), missing(named, keys.KEYS)) == ([], [])


@pytest.mark.parametrize("table", TABLES)
def test_a_table_reads_only_keys_that_it_has(table):
    read = {*TABLES[table].metadata, *TABLES[table].keys}
    assert missing((key for key, row in keys.KEYS.items() if table in row.tables), read) == []


def test_every_key_is_documented():
    documents = (ROOT / "docs" / "trace-format.md").read_text() + (ROOT / "docs" / "tracepoints.md").read_text()
    assert [key for key in keys.KEYS if f"`{key}`" not in documents] == []


@pytest.mark.kvm
def test_a_trace_has_the_keys_that_the_table_says(run_guest):
    """Not those of a merged trace or of a restored machine's, nor those of batches."""
    trace = tracer.load(run_guest("f4", trace={"inputs": True}).trace)
    for name in ("exits", "inputs"):
        of_schema = {key for key, row in keys.KEYS.items() if name in row.tables} - {
            keys.MERGED,
            keys.RESTORED,
            keys.SUMMARY,
            keys.SEAL,
        }
        assert (missing(trace.tables[name].metadata, of_schema), missing(of_schema, trace.tables[name].metadata)) == (
            [],
            [],
        )


@pytest.mark.kvm
def test_the_values_of_a_trace_are_of_the_kinds_that_the_table_says(run_guest):
    trace = tracer.load(run_guest("f4").trace)
    for key, text in trace.metadata.items():
        match keys.KEYS[key].kind:
            case "toml":
                tomllib.loads(text)
            case "object":
                assert isinstance(json.loads(text), dict)
            case "names":
                assert all(isinstance(item, str) for item in json.loads(text))
            case "list":
                assert isinstance(json.loads(text), list)


# Decoders and details


def test_every_tracepoint_that_is_recorded_has_its_detail_or_none_by_decision():
    assert missing({*DETAILS, *WITHOUT_DETAIL}, EVENTS) == []
    assert (missing(EVENTS, {*DETAILS, *WITHOUT_DETAIL}), DETAILS.keys() & WITHOUT_DETAIL) == ([], set())


def test_details_read_fields_that_are_recorded():
    slots = {event: {field.slot for field in fields} for event, fields in EVENTS.items()}
    unknown = {event: missing(slots[event], detail.columns) for event, detail in DETAILS.items()}
    assert {event: columns for event, columns in unknown.items() if columns} == {}


def test_every_kvm_exit_has_its_decoder():
    """Exits of other processors have only their reason."""
    others = re.compile("(s390|arm|riscv|loongarch)_|papr_hcall|osi|dcr|epr|watchdog")
    recorded = [reason for reason in REASONS if not others.match(reason)]
    assert [reason for reason in recorded if not named(reason, 0x10)] == []


def test_bits_of_msrs_are_those_of_msrs_that_have_a_name():
    assert missing(set(MSRS.values()), BITS) == []


def numbers(module):
    """The names and values of a module of registers."""
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, int)}


def test_every_cpuid_leaf_that_a_spec_or_the_runner_changes_has_its_decoder():
    assert [name for name, leaf in numbers(cpuid).items() if leaf not in LEAVES] == []


def test_features_are_in_leaves_that_have_a_name():
    leaves = {*numbers(cpuid).values()}
    assert [f"{name}: leaf {bit.function:#x}" for name, bit in FEATURES.items() if bit.function not in leaves] == []


def test_every_bit_of_efer_has_its_decoder():
    named_bits = {bit.mask for bit in BITS["IA32_EFER"]}
    bits = {name: bit for name, bit in numbers(system).items() if name.startswith("EFER_")}
    assert ([name for name, bit in bits.items() if bit not in named_bits], len(bits)) == ([], len(named_bits))


def test_every_entry_of_the_local_apic_that_the_runner_sets_has_its_decoder():
    entries = {name: at for name, at in numbers(lapic).items() if name.startswith("LVT_")}
    assert {name: LAPIC[at].name for name, at in entries.items()} == {name: name.replace("_", " ") for name in entries}
