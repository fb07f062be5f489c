"""unittests.cfg of kvm-unit-tests, and what else a built tree says of its tests: config.mak and errata.txt.

The format is that of scripts/common.bash there: lines ``[name]``, ``key = value``, comments; the parameters of the VMM
may go over several lines between two \"\"\". Its reader ignores a line that it does not know. This one reports it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT = 90.0  # seconds of a test that says nothing else (scripts/runtime.bash)
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # of timeout(1)
SECTION = re.compile(r"\[(.*)\]")
PAIR = re.compile(r"([A-Za-z_]+) *= *(.*)")
QUOTES = '"""'
# Keys, and the field of each.
KEYS = {
    "file": "file", "smp": "smp", "test_args": "arguments", "qemu_params": "parameters", "extra_params": "parameters",
    "groups": "groups", "arch": "arch", "machine": "machine", "check": "check", "accel": "accel", "timeout": "timeout",
    "disabled_if": "disabled_if",
}  # fmt: skip
OTHERS = frozenset(("kvmtool_params",))  # for another VMM
ERRATUM = re.compile(r"\s*(\w+)\s*:\s*(\d[\w.-]*)\s*(?::|$)")  # commit, and the first kernel that has it
RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-(\d+))?")  # the numbers of a kernel's release


class ConfigError(Exception):
    """A file of the tree that cannot be used. The message has its place."""


class UnitTest(NamedTuple):
    """One test. ``arguments`` and ``parameters`` are text for a shell, as is ``smp``. ``check`` has pairs of a file and
    what it must contain. ``timeout`` is in seconds, None for no limit. ``unknown`` are keys without a meaning here."""

    name: str
    file: str = ""
    smp: str = "1"
    arguments: str = ""
    parameters: str = ""
    groups: tuple[str, ...] = ()
    arch: str = ""
    machine: str = ""
    check: tuple[tuple[str, str], ...] = ()
    accel: str = ""
    timeout: float | None = TIMEOUT
    disabled_if: str = ""
    unknown: tuple[str, ...] = ()


class Tree(NamedTuple):
    """A built tree: its folder, the folder of the test programs, the processor that they are for, whether they want an
    environment, and the errata that it may need to know."""

    folder: Path
    programs: Path
    arch: str
    environment: bool
    errata: tuple[tuple[str, str], ...]
    tests: tuple[UnitTest, ...]


def tree(folder: Path) -> Tree:
    """Read a built tree. Raises ConfigError."""
    made = folder / "config.mak"
    if not made.is_file():
        raise ConfigError(f"{folder} has no config.mak: run ./configure --arch=x86_64 and make there")
    values = dict(line.split("=", 1) for line in _text(made).splitlines() if "=" in line)
    arch, programs = values.get("ARCH", ""), folder / values.get("TEST_DIR", "x86")
    if arch not in ("x86_64", "i386"):
        raise ConfigError(
            f"{made} is for {arch or 'no architecture'}, and vmrun runs x86 guests: ./configure --arch=x86_64"
        )
    if values.get("CONFIG_EFI") == "y":
        raise ConfigError(f"{made} is for EFI programs: configure without --enable-efi")
    config, errata = programs / "unittests.cfg", folder / "errata.txt"
    listed = tuple(_errata(_text(errata))) if errata.is_file() else ()
    wanted = values.get("ENVIRON_DEFAULT") == "yes"
    return Tree(folder, programs, arch, wanted, listed, tuple(parse(_text(config), str(config))))


def parse(text: str, file: str = "unittests.cfg") -> list[UnitTest]:
    """The tests of a configuration, in its order. Raises ConfigError, with the line, for what is no such file."""
    found: dict[str, UnitTest] = {}
    name = ""
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        where = f"{file}:{number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if section := SECTION.fullmatch(line.rstrip()):
            name = section[1].strip()
            if not name or "/" in name or name in (".", ".."):
                raise ConfigError(f"{where}: {line.strip()!r} names no test")
            if name in found:
                raise ConfigError(f"{where}: there are two tests {name}")
            found[name] = UnitTest(name)
        elif (pair := PAIR.fullmatch(line.rstrip())) is None:
            raise ConfigError(f"{where}: {line.strip()[:60]!r} is neither [name], key = value, nor a comment")
        elif not name:
            raise ConfigError(f"{where}: {pair[1]} before the first [name]")
        else:
            value = pair[2]
            if value.startswith(QUOTES):
                value = _lines(value.removeprefix(QUOTES), lines, where)
            found[name] = _with(found[name], pair[1], value, where)
    return list(found.values())


def seconds(text: str) -> float | None:
    """A time as timeout(1) takes it; None for 0, which is no limit. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([smhd]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 30 or 2m")
    return float(match[1]) * UNITS[match[2]] or None


def environment(errata: tuple[tuple[str, str], ...], release: str) -> str:
    """The variables that a test finds in its module, on a host with this kernel (scripts/arch-run.bash)."""
    found = RELEASE.match(release)
    names = ("VERSION", "PATCHLEVEL", "SUBLEVEL", "EXTRAVERSION")
    values = {"KERNEL_VERSION_STRING": release}
    values |= {
        f"KERNEL_{name}": value for name, value in zip(names, found.groups("") if found else ("",) * 4, strict=True)
    }
    values |= {f"ERRATA_{commit}": "y" if _numbers(release) >= _numbers(first) else "n" for commit, first in errata}
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _numbers(release: str) -> tuple[int, ...]:
    found = RELEASE.match(release)
    return tuple(int(number) for number in found.groups("0")) if found else ()


def _lines(first: str, lines: Iterator[tuple[int, str]], where: str) -> str:
    """A value up to the next \"\"\". A backslash at the end of a line joins it to the next."""
    value, rest = "", first
    while QUOTES not in rest:
        slashes = len(rest) - len(rest.rstrip("\\"))
        value += rest[:-1] if slashes % 2 else rest + "\n"
        _, rest = next(lines, (0, None)) or (0, None)
        if rest is None:
            raise ConfigError(f'{where}: """ has no end')
    end, _, after = rest.partition(QUOTES)
    if after.strip():
        raise ConfigError(f'{where}: text after the """ that ends the value')
    return value + end


def _with(test: UnitTest, key: str, value: str, where: str) -> UnitTest:
    if key in OTHERS:
        return test
    field = KEYS.get(key)
    if field is None:
        return test._replace(unknown=(*test.unknown, key))
    made: Any = value
    match field:
        case "groups":
            made = tuple(value.split())
        case "check":
            parts = [part.partition("=") for part in value.split()]
            if not all(path and equals for path, equals, _ in parts):
                raise ConfigError(f"{where}: {value!r} is not made of FILE=VALUE")
            made = tuple((path, wanted) for path, _, wanted in parts)
        case "timeout":
            try:
                made = seconds(value)
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from None
    return test._replace(**{field: made})


def _errata(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if (found := ERRATUM.match(line)) is not None:
            yield found[1], found[2]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
