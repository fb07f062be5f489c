import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given

import vmspec
from tests.vmspec.specs import specs
from vmspec.devices.isa import Python
from vmspec.spec.models import VM, Boot, Spec


@pytest.mark.long
@given(specs)
def test_a_shown_spec_reads_back_equal(spec):
    assert vmspec.loads(vmspec.dumps(spec), "/elsewhere") == spec


def test_a_spec_is_shown_as_people_write_it():
    spec = Spec(
        vm=VM("x", memory=3 << 29, timeout=90 * 10**9),
        boot=Boot(code=b"\xb8\x01", load=0x7C00, registers={"rax": 1 << 63}),
        devices=(Python(cls="m:C", port=(0x510, 2), options={"a": {"b": 1}}),),
    )
    assert vmspec.dumps(spec).splitlines() == [
        "[vm]",
        'name = "x"',
        'memory = "1536MiB"',
        "vcpus = 1",
        'timeout = "90s"',
        'irqchip = "auto"',
        'time = "host"',
        'transport = "mmio"',
        "",
        "[boot]",
        "files = []",
        "modules = []",
        'cmdline = ""',
        "unpack = true",
        'code = "b8 01"',
        'load = "0x7c00"',
        "",
        "[boot.registers]",
        'rax = "0x8000000000000000"',
        "",
        "[memory]",
        'backing = "auto"',
        'pages = "transparent"',
        "locked = false",
        "prefault = false",
        "",
        "[cpu]",
        'model = "host"',
        "disable = []",
        "",
        "[trace]",
        "rip = true",
        'full = "wait"',
        "tracepoints = false",
        "events = []",
        "inputs = false",
        "requests = true",
        "outputs = true",
        "ring = 65536",
        "",
        "[expect]",
        "console = []",
        "absent = []",
        "patterns = []",
        "forbidden = []",
        "exit = []",
        "ktap = false",
        "tap = false",
        'unclaimed = "any"',
        "allow = []",
        'errors = "any"',
        "differ = []",
        "",
        "[lock]",
        "require = false",
        "",
        "[test]",
        "needs = []",
        "status = 0",
        "",
        "[[device]]",
        'kind = "python"',
        'class = "m:C"',
        "port = [",
        '    "0x510",',
        "    2,",
        "]",
        "",
        "[device.options.a]",
        "b = 1",
    ]


def test_paths_are_shown_absolute():
    spec = vmspec.loads("[vm]\nname = 'x'\n[boot]\nkernel = 'k'", Path("/specs"))
    assert tomllib.loads(vmspec.dumps(spec))["boot"]["kernel"] == "/specs/k"


def test_importing_the_package_imports_no_dependency():
    # A build reads vmspec.trace.record before anything is installed.
    program = "import sys, vmspec.trace.record; sys.exit('attr' in sys.modules or 'tomllib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
