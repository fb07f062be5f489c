#!/usr/bin/env python3
"""Debian's packages as test material: kernels and busybox, unpacked into a cache and never installed.

The first use of a name fetches the newest package and remembers it; from then on the same files are used, with no
network and no apt, until `--update` asks for newer ones. The cache may be deleted at any time, is
`${VMRUN_CACHE:-${XDG_CACHE_HOME:-~/.cache}/vmrun}`, and may be filled by several processes at once.

    python3 tests/guests/debian.py 6.1-cloud        # prints the paths of a kernel's files
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

# "6.1-cloud" -> the packages linux-image-6.1.0-56-cloud-amd64 (stable) or linux-image-6.12.9+deb12-cloud-amd64
# (backported); debug, unsigned and rt packages do not match.
KERNEL_NAME = re.compile(r"(\d+\.\d+)-(cloud|generic)")
KERNEL_PACKAGE = r"^linux-image-{version}[.][0-9]+(-[0-9]+|[+]deb[0-9]+){flavour}-amd64$"

# Linux's Documentation/arch/x86/boot.rst: the setup header says where the compressed kernel proper lies.
SETUP_SECTS, MAGIC, PAYLOAD_OFFSET = 0x1F1, 0x202, 0x248

MODULE_SIGNED = b"~Module signature appended~\n"

# The payload's compression by its first bytes; where Python cannot undo it: the program and its package.
GZIP, XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
PROGRAMS = {b"\x02\x21\x4c\x18": ("lz4", "lz4"), b"\x28\xb5\x2f\xfd": ("zstd", "zstd")}


class DebianError(Exception):
    """A package cannot be had, or is not what it should be."""


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel package."""

    release: str  # as uname -r prints it
    bzimage: Path
    config: Path
    system_map: Path  # a one-line stub in Debian's packages: the real one comes with the debug package
    modules: Path  # the directory lib/modules/<release>, without depmod's indexes


def kernel(name: str, *, update: bool = False) -> Kernel:
    """The newest kernel of one series and flavour, such as "6.1-cloud" or "6.1-generic"."""
    match = KERNEL_NAME.fullmatch(name)
    if match is None:
        raise DebianError(f"{name!r} is not the name of a kernel: say 6.1-cloud, 6.12-cloud or 6.1-generic")
    flavour = "-cloud" if match[2] == "cloud" else ""
    pattern = KERNEL_PACKAGE.format(version=re.escape(match[1]), flavour=flavour)
    tree = _package(f"linux-{name}", lambda: _newest(pattern), update=update)
    boot = tree / "boot"
    bzimage = _only(boot.glob("vmlinuz-*"), f"{tree}: kernel")
    release = bzimage.name.removeprefix("vmlinuz-")
    modules = _only(tree.glob(f"**/lib/modules/{release}"), f"{tree}: modules")
    return Kernel(release, bzimage, boot / f"config-{release}", boot / f"System.map-{release}", modules)


def busybox(*, update: bool = False) -> Path:
    """Debian's statically linked busybox."""
    return _package("busybox", lambda: "busybox-static", update=update) / "bin" / "busybox"


def files(package: str, *, update: bool = False) -> Path:
    """The tree of files of any package, by its exact name."""
    return _package(f"package-{package}", lambda: package, update=update)


def vmlinux(kernel: Kernel) -> Path:
    """The ELF kernel inside a bzImage, without symbols, kept beside it.

    The relocations for KASLR follow the ELF file's own contents.
    """
    path = kernel.bzimage.with_name(f"vmlinux-{kernel.release}")
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            part = Path(scratch, path.name)
            part.write_bytes(_decompress(_payload(kernel.bzimage)))
            part.rename(path)
    return path


def modules(kernel: Kernel, names: Sequence[str]) -> dict[str, bytes]:
    """Modules, and what they depend on, uncompressed, in the order in which to load them."""
    files = {_module_name(path): path for path in kernel.modules.glob("kernel/**/*.ko*")}
    built_in = {_module_name(Path(line)) for line in (kernel.modules / "modules.builtin").read_text().split()}
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in loaded or name in built_in:
            return
        if name not in files:
            raise DebianError(f"the kernel {kernel.release} has no module {name}")
        image = files[name].read_bytes()
        image = lzma.decompress(image) if files[name].suffix == ".xz" else image
        depends = re.search(rb"\0depends=([^\0]+)\0", image)
        for dependency in depends[1].decode().split(",") if depends else ():
            load(dependency.replace("-", "_"))
        loaded[name] = image

    for name in names:
        load(name.replace("-", "_"))
    return loaded


def unsigned(module: bytes) -> bytes:
    """A module without its signature, which takes an emulated processor long to check.

    Linux's include/linux/module_signature.h: the signature, 12 bytes that end with its length, a line of text.
    """
    if not module.endswith(MODULE_SIGNED):
        return module
    end = len(module) - len(MODULE_SIGNED)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def program(name: str, package: str) -> str:
    """The path of a program. If it is missing and this is root, its package is installed."""
    programs({name: package})
    return str(shutil.which(name))


def programs(packages: Mapping[str, str]) -> None:
    """Install the packages of missing programs (or files, by their paths) at once, if this is root."""
    missing = sorted({package for name, package in packages.items() if shutil.which(name) is None and not _file(name)})
    if not missing:
        return
    if os.geteuid() != 0:
        absent = [name for name, package in packages.items() if package in missing]
        raise DebianError(f"{', '.join(absent)} missing: run apt-get install {' '.join(missing)} as root")
    install = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing]
    with _locked():
        _say(f"installing {' '.join(missing)}")
        _or_after_update(lambda: _run(install))
    for name, package in packages.items():
        if shutil.which(name) is None and not _file(name):
            raise DebianError(f"{package} is installed, and there is no {name}")


def _file(name: str) -> bool:
    return name.startswith("/") and Path(name).exists()


def _package(alias: str, find: Callable[[], str], *, update: bool) -> Path:
    """The unpacked tree that the cache's symbolic link `alias` names; the link is made at the first use."""
    link = _cache() / alias
    if link.exists() and not update:
        return link.resolve()
    with _locked():
        if update or not link.exists():
            _fetch(link, find)
    return link.resolve()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One process at a time has apt fetch something: two that update its lists fail."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(link: Path, find: Callable[[], str]) -> None:
    with tempfile.TemporaryDirectory(dir=link.parent) as scratch:

        def download() -> None:
            package = find()
            _say(f"fetching {package}")
            _run(["apt-get", "download", package], cwd=scratch)

        _or_after_update(download)
        deb = _only(Path(scratch).glob("*.deb"), "downloaded package")
        tree = link.parent / deb.stem
        if not tree.exists():
            unpacked = Path(scratch, "unpacked")
            _run(["dpkg-deb", "-x", str(deb), str(unpacked)])
            unpacked.rename(tree)
        new = Path(scratch, "link")
        new.symlink_to(tree.name)
        new.replace(link)


def _newest(pattern: str) -> str:
    """The package with the highest version among those whose names match."""
    lines = _run(["apt-cache", "search", "--names-only", pattern]).splitlines()
    names = [line.split()[0] for line in lines]
    if not names:
        raise DebianError(f"apt knows no package {pattern}")
    return max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _or_after_update(action: Callable[[], object]) -> None:
    """Do it; if apt cannot, once more with fresh package lists."""
    try:
        action()
    except DebianError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update"])
        action()


def _run(command: Sequence[str], cwd: str | None = None) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise DebianError(f"{command[0]} is missing: this needs Debian") from None
    if done.returncode:
        raise DebianError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def _payload(bzimage: Path) -> bytes:
    image = bzimage.read_bytes()
    if image[MAGIC : MAGIC + 4] != b"HdrS":
        raise DebianError(f"{bzimage} is not a bzImage")
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    start = (image[SETUP_SECTS] + 1) * 512 + offset
    return image[start : start + length]


def _decompress(payload: bytes) -> bytes:
    """Undo the kernel's compression, whose last four bytes are, for every method, the size of the result."""
    if payload.startswith(GZIP):
        image = zlib.decompressobj(wbits=31).decompress(payload)
    elif payload.startswith(XZ):
        image = lzma.LZMADecompressor().decompress(payload)
    elif payload[:4] in PROGRAMS:
        command = [program(*PROGRAMS[payload[:4]]), "-dc"]
        image = subprocess.run(command, input=payload[:-4], capture_output=True, check=True).stdout
    else:
        raise DebianError(f"a kernel compressed in an unknown way: {payload[:6].hex()}")
    if len(image) != int.from_bytes(payload[-4:], "little") or not image.startswith(b"\x7fELF"):
        raise DebianError("the kernel did not decompress to an ELF file of the size it states")
    return image


def _module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _only(paths: Iterator[Path], what: str) -> Path:
    found = list(paths)
    if len(found) != 1:
        raise DebianError(f"{what}: expected one, found {len(found)}")
    return found[0]


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = home if home.is_absolute() else Path.home() / ".cache"  # as the XDG Base Directory Specification has it
    return Path(os.environ.get("VMRUN_CACHE") or Path(home, "vmrun")).absolute() / "debian"


_say = functools.partial(print, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch a Debian kernel and print where its files are.")
    parser.add_argument("kernel", help="6.1-cloud, 6.12-cloud, 6.1-generic, ...")
    parser.add_argument("--update", action="store_true", help="look for a newer one than the one kept")
    arguments = parser.parse_args()
    try:
        found = kernel(arguments.kernel, update=arguments.update)
        for field in fields(found):
            print(f"{field.name} {getattr(found, field.name)}")
        print(f"vmlinux {vmlinux(found)}")
    except DebianError as error:
        sys.exit(f"debian.py: {error}")


if __name__ == "__main__":
    main()
