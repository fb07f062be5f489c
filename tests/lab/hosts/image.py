"""The files of this machine for an emulated host without a shared file system, as one ISO 9660 image.

They are its root file system: Debian's essential packages, the Python that vmrun runs on with the imports of vmrun and
its tests, this checkout, the current directory, the files that COMMAND names, and what those programs load; all at
their own paths.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.lab.hosts.job import ROOT, Job, LabError

# Distributions of the virtual environment that are taken, with what they require; the rest (pandas, a browser's driver,
# type checkers, ...) is large.
DISTRIBUTIONS = ("vmrun", "pytest", "hypothesis", "capstone", "tomli-w")
# Of the standard library, and of no use without a terminal, a compiler or the sources' own tests.
UNUSED = {"test", "tests", "idlelib", "ensurepip", "lib2to3", "turtledemo", "tkinter"}
# Of a checkout: its history, the environment (taken by distributions) and what tools keep for themselves.
PRIVATE = {".git", ".venv", "build", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
# Python's names for compiled code that it has not finished: another program may be about to rename it.
UNFINISHED = re.compile(r"\.pyc\.\d+$")
DOCUMENTATION = re.compile(r"/usr/share/(doc|man|info|locale|lintian|bug)/")
SYSTEM = ("passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives")
LARGEST = 1 << 30  # bytes of the current directory: more was surely not meant


class Tree:
    """Paths to take, each with the symbolic links on the way to it."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self._following: set[Path] = set()

    def take(self, path: str | Path, leave: frozenset[str] | set[str] = frozenset()) -> None:
        """Take a file, a link and what it points to, or all that is in a folder but what is named in ``leave``."""
        real = self.reach(path)
        if not real.is_dir():
            self._add(real)
            return
        for folder, folders, files in os.walk(real):
            folders[:] = [name for name in folders if name not in leave]
            for name in (*folders, *files):
                self._add(Path(folder, name))

    def _add(self, path: Path) -> None:
        mode = path.lstat().st_mode if os.path.lexists(path) else 0
        if "\n" not in str(path) and not UNFINISHED.search(path.name) and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            self.paths.add(str(path))

    def reach(self, path: str | Path) -> Path:
        """The path without symbolic links, which are taken one by one."""
        known = Path("/")
        for part in Path(os.path.abspath(path)).parts[1:]:  # noqa: PTH100 - resolve() would follow links
            known /= part
            if known.is_symlink() and known not in self._following:  # a circle of links leads nowhere
                self._add(known)
                link = known
                self._following.add(link)
                known = self.reach(link.parent / link.readlink())
                self._following.discard(link)
        return known

    def programs(self) -> list[str]:
        """Those of the files that are ELF."""
        found = []
        for path in self.paths:
            if Path(path).is_symlink() or not (os.access(path, os.X_OK) or ".so" in path):
                continue
            with Path(path).open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append(path)
        return found


def contents(job: Job) -> Tree:
    """What an emulated host gets for a job."""
    tree = Tree()
    for path in essential():
        tree.take(path)
    for name in ("/bin", "/sbin", "/lib", "/lib64"):
        tree.reach(name)
    for name in SYSTEM:
        tree.take(f"/etc/{name}")
    python(tree)
    tree.take(ROOT, PRIVATE)
    here = Path.cwd()
    if not here.is_relative_to(ROOT) and size(here) > LARGEST:
        raise LabError(f"{here} is too large to take into the emulated host: start in a smaller directory")
    tree.take(here, PRIVATE)
    for path in (job.share, *job.take, *named(job.command)):
        if path is not None:
            tree.take(path)
    for library in libraries(tree.programs()):
        tree.take(library)
    return tree


def essential() -> Iterator[str]:
    """The files of Debian's essential packages."""
    lines = output("dpkg-query", "-W", "-f", "${Essential} ${Package}\n").splitlines()
    packages = [line.split()[1] for line in lines if line.startswith("yes ")]
    for path in output("dpkg-query", "-L", *packages).splitlines():
        if not DOCUMENTATION.match(path) and Path(path).is_file():
            yield path


def python(tree: Tree) -> None:
    """The interpreter of the virtual environment in use, its library, and the distributions that are needed."""
    environment = Path(os.environ.get("VIRTUAL_ENV") or ROOT / ".venv")
    interpreter = environment / "bin" / "python"
    if not interpreter.exists():
        interpreter = Path(shutil.which("python3") or "/usr/bin/python3")
    asked = "import json, sysconfig; p = sysconfig.get_paths(); print(json.dumps([p['stdlib'], p['purelib']]))"
    library, site = json.loads(output(str(interpreter), "-I", "-c", asked))
    tree.take(interpreter)
    built = {path.name for path in Path(library).glob("config-*")}  # for linking with it
    tree.take(library, {*UNUSED, *built, "site-packages", "dist-packages"})
    for name in ("pyvenv.cfg", "bin/python3"):
        if (environment / name).exists():
            tree.take(environment / name)
    for file in distributions(site):
        tree.take(file)


def distributions(site: str) -> Iterator[Path]:
    """The files of what is needed from a folder of distributions."""
    installed = {canonical(each.name): each for each in importlib.metadata.distributions(path=[site])}
    todo, done = [*DISTRIBUTIONS], set[str]()
    while todo:
        name = canonical(todo.pop())
        if name in done or name not in installed:
            continue
        done.add(name)
        for file in installed[name].files or ():
            path = Path(os.path.normpath(str(file.locate())))
            if path.exists():
                yield path
        for requirement in installed[name].requires or ():
            match = re.match(r"[\w.-]+", requirement)
            if match and "extra" not in requirement:
                todo.append(match[0])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(command: Sequence[str]) -> Iterator[Path]:
    """The files and folders that a command names, its program among them."""
    program = shutil.which(command[0])
    for word in (program, *command[1:]):
        if word and (path := Path(word)).exists() and path.resolve() not in (Path("/"), Path.home()):
            yield path


def libraries(programs: Sequence[str]) -> set[str]:
    """The shared libraries that programs and libraries load, and the loader."""
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)  # fails for static ones
    return set(re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", done.stdout, re.MULTILINE))


def size(folder: Path) -> int:
    """Bytes in a folder, as far as is of interest."""
    total = 0
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in PRIVATE]
        total += sum(os.lstat(Path(where, name)).st_size for name in files)
        if total > LARGEST:
            break
    return total


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def write(fd: int, boot: Iterable[tuple[str, bytes | Path]], tree: Tree) -> None:
    """Write a bootable image of the tree to a file. ``boot`` are the further files in its folder "isolinux"."""
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        grafts = []
        for name, content in boot:
            source = content if isinstance(content, Path) else Path(scratch, name)
            if isinstance(content, bytes):
                source.write_bytes(content)
            grafts.append((f"/isolinux/{name}", str(source)))
        grafts += [(path, path) for path in sorted(tree.paths)]
        lines = [f"{escaped(target)}={escaped(source)}\n" for target, source in grafts]
        # Not by a pipe: xorriso ends at a file that has gone, and says so, before it has read the rest.
        paths = Path(scratch, "paths")
        paths.write_bytes("".join(lines).encode(errors="surrogateescape"))
        command = [
            *("xorriso", "-as", "mkisofs", "-quiet", "-R", "-iso-level", "3", "-graft-points", "-path-list", paths),
            *("-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4"),
            "-boot-info-table",
        ]
        done = subprocess.run(command, stdout=fd, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise LabError(f"xorriso failed:\n{done.stderr.decode(errors='replace')}")


def escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace("=", "\\=")
