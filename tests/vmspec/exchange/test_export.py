"""``vmspec export``: each tool's own rules accept what is written, and what it cannot express is named."""

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

import vmspec
from tests.vmspec.exchange.cases import files
from tests.vmspec.image.images import bzimage
from vmspec.cli import main
from vmspec.exchange import WRITERS, commented
from vmspec.exchange.exporting import export
from vmspec.exchange.firecracker import of_text as of_firecracker
from vmspec.exchange.importing import check
from vmspec.exchange.lkvm import of_text as of_lkvm
from vmspec.exchange.qemu.reader import of_text as of_qemu
from vmspec.spec.models import Spec

HERE = Path("/images")
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")

names = st.text("abcXYZ019 ,=._'\"$\\-é", min_size=1, max_size=12).filter(lambda text: text.strip("., ") == text)
macs = st.integers(0, (1 << 40) - 1).map(lambda n: ":".join(f"{byte:02x}" for byte in (0x52, *n.to_bytes(5, "big"))))
paths = names.map(lambda name: f"/images/{name}")


def tables(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def kind(name: str, required: dict[str, Any], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(name), **required}, optional=optional)


ENDS = ({"input": "none"}, {"input": "none", "output": "none"}, {"input": "none", "output": "/images/log"})
ports = st.integers(1, 65535)
forwards = st.lists(st.builds("{}:127.0.0.1:{}:{}".format, st.sampled_from(["tcp", "udp"]), ports, ports), max_size=2)
networks = st.one_of(
    kind("virtio-net", {}, forward=forwards, restrict=st.booleans(), mac=macs, mtu=st.integers(68, 65535)),
    kind("virtio-net", {"tap": st.sampled_from(["tap0", "a,b", "vm%d"])}, mac=macs, queues=st.integers(1, 4)),
    kind("virtio-net", {"stream": paths}, mac=macs),
    kind("virtio-net", {"listen": paths}),
)
disks = kind(
    "virtio-blk",
    {"path": paths, "format": st.sampled_from(["raw", "qcow2"])},
    mode=st.sampled_from(["ro", "rw"]),
    cache=st.sampled_from(["writeback", "writethrough"]),
    direct=st.booleans(),
    queues=st.integers(1, 16),
    **{"block-size": st.sampled_from([512, 4096])},
)
consoles = st.builds(
    lambda ends, found: {"kind": "virtio-console", **ends, "ports": [{"name": name} for name in found]},
    st.sampled_from(ENDS[:2]),
    st.lists(st.sampled_from(["a", "org.x.0", "p_1"]), unique=True, max_size=2),
)
others = st.one_of(
    kind("debug-exit", {}, port=st.integers(0x600, 0x6FC), size=st.sampled_from([1, 2, 4])),
    kind("virtio-rng", {}),
    kind("virtio-balloon", {}),
    kind(
        "vhost-user", {"virtio-id": st.just(2), "socket": paths, "config-size": st.just(60)}, queues=st.integers(1, 4)
    ),
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Specs of which a QEMU command line can express everything."""
    transport = draw(st.sampled_from(["mmio", "pci"]))
    devices = draw(st.lists(st.one_of(disks, networks, consoles, others), max_size=5))
    for device in devices:
        if device["kind"].startswith(("virtio", "vhost")) and transport == "mmio" and draw(st.booleans()):
            device["transport"] = "pci"
    wired = any(d["kind"].startswith(("virtio", "vhost")) and d.get("transport", transport) == "mmio" for d in devices)
    micro = wired if any(d["kind"].startswith(("virtio", "vhost")) for d in devices) else transport == "mmio"
    if transport == "mmio" and not micro:
        transport = "pci"
        for device in devices:
            device.pop("transport", None)
    fixed = [] if micro else [*([{"kind": "i8042"}] * draw(st.booleans())), {"kind": "rtc"}]
    fixed += [{"kind": "rtc"}] * (micro and draw(st.booleans()))
    fixed += [{"kind": "acpi"}] * draw(st.booleans())
    fixed += [{"kind": "serial", **draw(st.sampled_from(({}, *ENDS)))}] * draw(st.booleans())
    vm = {"name": draw(names), "transport": transport, "vcpus": draw(st.integers(1, 254))}
    vm["memory"] = 4096 * draw(st.integers(256, 1 << 20))
    memory = draw(tables(locked=st.booleans(), prefault=st.booleans(), backing=st.just("memfd")))
    boot = {"kernel": draw(paths), **draw(tables(initrd=paths, cmdline=names))}
    disabled = st.sampled_from([["avx"], ["pni", "sse4_1", "tsc_deadline_timer"]])
    cpu = draw(tables(disable=disabled, vendor=st.sampled_from(["GenuineIntel", "AuthenticAMD"])))
    if any(device["kind"] == "vhost-user" for device in devices):
        memory["backing"] = "memfd"
    table = {"vm": vm, "boot": boot, "memory": memory, "cpu": cpu, "device": [*fixed, *devices]}
    return vmspec.loads(tomli_w.dumps(table), HERE)


@settings(max_examples=60)
@given(st.data())
def test_a_qemu_command_line_reads_back_as_an_equal_spec(data):
    try:
        spec = data.draw(specs())
    except vmspec.SpecError:  # one path in two uses
        return
    text, left = export("qemu", spec)
    assert [key for key, _ in left if key] == []
    draft = of_qemu(text, None)
    check(draft)
    read = vmspec.loads(commented.text(draft), HERE)
    assert (read, [remark.node.text for part in draft.parts for remark in part.remarks if remark.node]) == (spec, [])


FULL = """
[vm]
name = "demo"
memory = "512MiB"
vcpus = 2
transport = "pci"
[boot]
kernel = "vmlinux"
initrd = "initrd.img"
cmdline = "console=ttyS0 root=/dev/vda <&>"
[memory]
locked = true
prefault = true
pages = "hugetlbfs"
[cpu]
disable = ["avx"]
[[device]]
kind = "i8042"
[[device]]
kind = "rtc"
[[device]]
kind = "acpi"
[[device]]
kind = "serial"
[[device]]
kind = "serial"
com = 2
input = "none"
output = "/images/log"
[[device]]
kind = "virtio-blk"
path = "disk.img"
mode = "ro"
serial = "x"
queues = 2
block-size = 4096
[[device]]
kind = "virtio-blk"
path = "disk.qcow2"
format = "qcow2"
mode = "overlay"
cache = "writethrough"
[[device]]
kind = "virtio-net"
mac = "52:54:00:12:34:56"
mtu = 1400
[[device]]
kind = "virtio-net"
tap = "tap0"
queues = 2
[[device]]
kind = "virtio-vsock"
path = "v.sock"
cid = 7
[[device]]
kind = "virtio-console"
input = "none"
ports = [{ name = "org.x.0" }]
[[device]]
kind = "virtio-fs"
path = "folder"
tag = "share"
[[device]]
kind = "virtio-rng"
[[device]]
kind = "pvpanic"
[[device]]
kind = "vmgenid"
"""
BALLOON = '\n[[device]]\nkind = "virtio-balloon"\nsize = "16MiB"\n'
MMIO = FULL.replace('transport = "pci"', 'transport = "mmio"')


@pytest.mark.skipif(
    shutil.which("xmllint") is None or not SCHEMA.exists(),
    reason="needs xmllint and libvirt's schema (Debian: libvirt0)",
)
@pytest.mark.parametrize("text", [FULL, MMIO, FULL.replace('pages = "hugetlbfs"', "") + BALLOON])
def test_a_domain_is_valid_by_the_schema_of_libvirt(text, tmp_path):
    (tmp_path / "domain.xml").write_text(export("libvirt", vmspec.loads(text, HERE))[0])
    command = ["xmllint", "--noout", "--relaxng", str(SCHEMA), str(tmp_path / "domain.xml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def fields(required: str, **optional: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": optional, "required": required.split(), "additionalProperties": False}


TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
# The definitions of Firecracker's API (src/firecracker/swagger/firecracker.yaml): FullVmConfiguration and its parts.
FIRECRACKER = fields(
    "boot-source",
    **{
        "boot-source": fields("kernel_image_path", kernel_image_path=TEXT, boot_args=TEXT, initrd_path=TEXT),
        "machine-config": fields(
            "vcpu_count mem_size_mib", vcpu_count={"type": "integer", "minimum": 1, "maximum": 32}, mem_size_mib=NUMBER,
            smt=FLAG, track_dirty_pages=FLAG, cpu_template=TEXT, huge_pages={"enum": ["None", "Transparent", "2M"]},
        ),
        "drives": {"type": "array", "items": fields(
            "drive_id is_root_device", drive_id=TEXT, is_root_device=FLAG, is_read_only=FLAG, path_on_host=TEXT,
            partuuid=TEXT, cache_type={"enum": ["Unsafe", "Writeback"]}, io_engine={"enum": ["Sync", "Async"]},
            socket=TEXT,
        )},
        "network-interfaces": {"type": "array", "items": fields(
            "host_dev_name iface_id", host_dev_name=TEXT, iface_id=TEXT, guest_mac=TEXT,
            mtu={"type": "integer", "minimum": 68, "maximum": 65535},
        )},
        "vsock": fields("guest_cid uds_path", guest_cid={"type": "integer", "minimum": 3}, uds_path=TEXT,
                        vsock_id=TEXT),
        "entropy": fields(""),
        "balloon": fields("amount_mib deflate_on_oom", amount_mib=NUMBER, deflate_on_oom=FLAG,
                          stats_polling_interval_s=NUMBER, free_page_hinting=FLAG, free_page_reporting=FLAG),
        "pmem": {"type": "array", "items": fields("id path_on_host", id=TEXT, path_on_host=TEXT, root_device=FLAG,
                                                  read_only=FLAG)},
        "serial": fields("", serial_out_path=TEXT),
    },
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [FULL, MMIO + '[[device]]\nkind = "virtio-pmem"\npath = "p"\n', FULL.replace('pages = "hugetlbfs"', "") + BALLOON],
)
def test_a_firecracker_configuration_has_the_fields_of_its_specification(text):
    jsonschema.validate(json.loads(export("firecracker", vmspec.loads(text, HERE))[0]), FIRECRACKER)


def test_a_firecracker_configuration_reads_back_as_an_equal_spec():
    text = FULL.split("[memory]", maxsplit=1)[0].replace('"pci"', '"mmio"')
    kinds = ('kind = "i8042"', 'kind = "acpi"', 'kind = "serial"', 'kind = "virtio-blk"\npath = "d"\nmode = "ro"',
             'kind = "virtio-net"\ntap = "t"\nmac = "52:54:00:00:00:01"', 'kind = "virtio-vsock"\npath = "v"\ncid = 3',
             'kind = "virtio-rng"', 'kind = "virtio-balloon"\nsize = "1MiB"')  # fmt: skip
    spec = vmspec.loads(text.replace('"demo"', '"guest"') + "".join(f"[[device]]\n{each}\n" for each in kinds), HERE)
    written, left = export("firecracker", spec)
    assert left == []
    draft = of_firecracker(written, None)
    check(draft)
    assert vmspec.loads(commented.text(draft), HERE) == spec


def test_a_command_line_of_lkvm_reads_back():
    spec = vmspec.loads(FULL, HERE)
    read = vmspec.loads(commented.text(of_lkvm(export("lkvm", spec)[0], None)), HERE)
    assert (read.vm, read.boot.kernel, read.boot.initrd) == (spec.vm, spec.boot.kernel, spec.boot.initrd)
    assert read.boot.cmdline.endswith(spec.boot.cmdline)
    kinds = [type(device).__name__ for device in read.devices]
    assert {"VirtioBlk", "VirtioNet", "VirtioVsock", "VirtioFS", "VirtioRng"} <= set(kinds)


@pytest.mark.parametrize("tool", WRITERS)
def test_what_a_tool_cannot_express_is_named_at_its_key(tool, tmp_path, capsys):
    path = tmp_path / "x.toml"
    path.write_text('[vm]\nname = "x"\ntimeout = "5s"\n[boot]\nkernel = "k"\n[trace]\npath = "t"\n'
                    '[[device]]\nkind = "python"\nclass = "a:B"\nport = [0x700, 1]\n')  # fmt: skip
    assert main(["export", f"--{tool}", str(path)]) == 0
    output = capsys.readouterr()
    assert f"{path}:3:1: vm.timeout: end the run from outside" in output.err
    assert f"{path}:6:2: trace: only vmrun records a run" in output.err
    assert f"{path}:8:3: device[0]: " in output.err
    assert output.out
    assert main(["export", f"--{tool}", "--strict", str(path)]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tool", WRITERS)
def test_a_flat_guest_is_vmruns_alone(tool, tmp_path, capsys):
    path = tmp_path / "x.toml"
    path.write_text('[vm]\nname = "x"\n[boot]\nmode = "real"\ncode = "f4"\n')
    assert main(["export", f"--{tool}", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"{path}:4:1: boot.mode: only vmrun starts a flat guest")


@pytest.mark.parametrize("tool", WRITERS)
def test_only_qemu_starts_firmware(tool, tmp_path, capsys):
    path = tmp_path / "x.toml"
    path.write_text('[vm]\nname = "x"\n[boot]\nfirmware = "/bios.bin"\n')
    assert main(["export", f"--{tool}", str(path)]) == (0 if tool == "qemu" else 2)
    output = capsys.readouterr()
    if tool == "qemu":
        assert "-bios /bios.bin" in output.out
        assert "-kernel" not in output.out
    else:
        assert output.err.startswith(f"{path}:4:1: boot.firmware: the tool starts a kernel: give boot.kernel")


def test_flash_memory_is_qemus_below_the_firmware(tmp_path, capsys):
    path = tmp_path / "x.toml"
    flash = ['path = "/vars.fd"', 'path = "/more.fd"\nmode = "overlay"']
    tables = "".join(f'[[device]]\nkind = "flash"\n{lines}\n' for lines in flash)
    path.write_text(f'[vm]\nname = "x"\ntransport = "pci"\n[boot]\nfirmware = "/code.fd"\n{tables}')
    assert main(["export", "--qemu", str(path)]) == 0
    output = capsys.readouterr().out
    assert "-machine q35" in output
    assert [line.strip(" \\") for line in output.splitlines() if "pflash" in line] == [
        "-drive if=pflash,format=raw,unit=0,readonly=on,file=/code.fd",
        "-drive if=pflash,format=raw,unit=1,file=/vars.fd",
        "-drive if=pflash,format=raw,unit=2,file=/more.fd,snapshot=on",
    ]
    assert "-bios" not in output


def test_into_a_file_with_a_path_that_is_not_utf8(tmp_path):
    (tmp_path / "x.toml").write_text('[vm]\nname = "x"\n[boot]\nkernel = "caf\\u0000e9"\n')
    assert main(["export", "--qemu", str(tmp_path / "x.toml"), "-o", str(tmp_path / "run")]) == 0
    assert b"caf\xe9" in (tmp_path / "run").read_bytes()
    assert main(["export", "--libvirt", str(tmp_path / "x.toml")]) == 2


STARTED = """
[vm]
name = "a,b"
transport = "TRANSPORT"
vcpus = 2
[boot]
kernel = "bzImage"
initrd = "initrd.img"
cmdline = "console=ttyS0"
[[device]]
kind = "i8042"
[[device]]
kind = "rtc"
time = 2024-02-29T12:00:00
[[device]]
kind = "acpi"
[[device]]
kind = "serial"
input = "none"
output = "none"
[[device]]
kind = "virtio-blk"
path = "a,b.img"
mode = "ro"
serial = "x,y"
queues = 2
block-size = 512
[[device]]
kind = "virtio-net"
forward = "tcp:127.0.0.1:PORT:80"
mac = "52:54:00:12:34:57"
[[device]]
kind = "virtio-net"
listen = "wire"
mtu = 1400
[[device]]
kind = "virtio-console"
input = "none"
output = "log"
ports = [{ name = "org.x.0" }]
[[device]]
kind = "virtio-rng"
[[device]]
kind = "virtio-balloon"
[[device]]
kind = "pvpanic"
[[device]]
kind = "debug-exit"
[[device]]
kind = "debug-port"
output = "debug"
"""


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU (Debian: qemu-system-x86)")
@pytest.mark.parametrize("transport", ["mmio", "pci"])
def test_qemu_accepts_the_command_line(transport, tmp_path):
    """It makes the machine, without KVM, and ends before the guest runs."""
    files(tmp_path)
    (tmp_path / "bzImage").write_bytes(bzimage())  # QEMU asks an ELF kernel for a PVH note
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = STARTED.replace("TRANSPORT", transport).replace("PORT", str(port))
    written, left = export("qemu", vmspec.loads(text, tmp_path))
    assert left == []
    command = written.replace("-accel kvm", "-accel tcg").replace("-cpu host", "-cpu max").rstrip() + " -S -qmp stdio"
    talk = '{"execute": "qmp_capabilities"} {"execute": "quit"}'
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, input=talk, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"event": "SHUTDOWN"' in done.stdout
