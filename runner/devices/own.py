"""User devices: a class in a Python file beside the spec."""

import hashlib
import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from runner.devices.device import Board, Device, DeviceError, said
from runner.devices.names import ChangedError, Interpreter, private
from runner.devices.oneregion import adapter, is_old
from vmspec.devices import own

_importing = threading.Lock()  # sys.path and sys.modules are shared by the whole process


class Own(Device):
    """Represents every user class in the table of devices."""

    @classmethod
    def make(cls, options: Mapping[str, Any], board: Board) -> Device:
        regions = [name for name in ("port", "mmio") if options.get(name) is not None] + [*options.get("regions", ())]
        return load(options["class"], options["options"], board, regions)


class Source(SourceFileLoader):
    """Loads a module from its source, never from bytecode, and keeps the hash of the source that was run. The module
    has the given builtins."""

    def __init__(self, name: str, path: str, hashes: dict[Path, str], builtins: ModuleType) -> None:
        super().__init__(name, path)
        self._hashes = hashes
        self._builtins = builtins

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        module.__dict__["__builtins__"] = self._builtins.__dict__
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType:
        """The module's code."""
        source = self.get_data(self.path)
        self._hashes[Path(self.path)] = hashlib.sha256(source).hexdigest()
        code: CodeType = self.source_to_code(source, self.path)
        return code


class Neighbours(MetaPathFinder):
    """Finds what Python finds; modules in the directory are loaded by :class:`Source`."""

    def __init__(self, directory: Path, hashes: dict[Path, str], builtins: ModuleType) -> None:
        self.directory = directory
        self._hashes = hashes
        self._builtins = builtins

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module, or None."""
        spec = PathFinder.find_spec(fullname, path, target)
        loader = None if spec is None else spec.loader
        if isinstance(loader, SourceFileLoader) and Path(loader.path).is_relative_to(self.directory):
            assert spec is not None
            spec.loader = Source(fullname, loader.path, self._hashes, self._builtins)
        return spec


def load(name: str, options: Mapping[str, Any], board: Board, regions: Sequence[str]) -> Device:
    """Make the device of the class ``name``, module:Class, with regions of the given names.

    Raises DeviceError.
    """
    cls, path = found(name, board, Device, "runner.devices.Device")
    make = _maker(cls, f"device class {name} ({path})", regions, board)
    device: Device = made(name, path, make, options)
    return device


def found(name: str, board: Board, base: type[Any], called: str) -> tuple[Any, Path]:
    """The class ``name``, module:Class, a subclass of ``base``; and its file.

    The file is run anew for each device, under a module name of its own, so specs in different directories may use the
    same names. It may import its neighbours while it is loaded. Raises DeviceError.
    """
    path = own.module(name, board.directory)
    class_name = name.partition(":")[2]
    hashes: dict[Path, str] = {}
    if not path.is_file():
        raise DeviceError(f"device class {name}: there is no file {path}")
    try:
        module = _run(path, hashes)
    except ChangedError as error:
        raise DeviceError(f"device class {name}: {path} {error}") from error
    except BaseException as error:
        raise DeviceError(f"device class {name}: {path} cannot be loaded: {said(error, str(path))}") from error
    cls = getattr(module, class_name, None)
    if cls is None:
        raise DeviceError(f"device class {name}: {path} has no {class_name}")
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise DeviceError(f"device class {name}: {class_name} in {path} is not a subclass of {called}")
    cls.made_from = hashes  # type: ignore[attr-defined]
    return cls, path


def made(name: str, path: Path, make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """The device of a class. Raises DeviceError."""
    class_name = name.partition(":")[2]
    try:
        with Interpreter():
            return make(**options)
    except ChangedError as error:
        raise DeviceError(f"device class {name}: {class_name}() {error}") from error
    except BaseException as error:
        raise DeviceError(f"device class {name}: {class_name}() failed: {said(error, str(path))}") from error


def _maker(cls: type[Device], what: str, regions: Sequence[str], board: Board) -> Callable[..., Device]:
    """The class, or an adapter for one whose methods take no region."""
    old = is_old(cls)
    if old is False or (old is None and len(regions) != 1):
        return cls
    if len(regions) != 1:
        message = f"has {len(regions)} regions, so its methods must take one: read(self, region, offset, size)"
        raise DeviceError(f"{what} {message}")
    text = f"{what} takes no region, which the next release requires: see docs/devices.md"

    def warn() -> None:
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        board.notice(text)

    if old:
        warn()
        return adapter(cls, regions[0], lambda: None)
    return adapter(cls, regions[0], cache(warn))


def _run(path: Path, hashes: dict[Path, str]) -> ModuleType:
    builtins = private()
    with _importing, _neighbours(Neighbours(path.parent, hashes, builtins)):
        name = f"{path.stem}@{path}#"
        unique = f"{name}{sum(key.startswith(name) for key in sys.modules)}"
        loader = Source(unique, str(path), hashes, builtins)
        spec = importlib.util.spec_from_loader(unique, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module  # dataclasses, pickle and the like look a class's module up here
        try:
            with Interpreter():
                loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
        return module


@contextmanager
def _neighbours(finder: Neighbours) -> Iterator[None]:
    """Let imports find the finder's files. Afterwards the import path is as before, with no bytecode beside the
    user's files and no modules under names that another spec's files may have too."""
    before = set(sys.modules)
    path, bytecode = sys.path[:], sys.dont_write_bytecode
    sys.path.insert(0, str(finder.directory))
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        for key in set(sys.modules) - before:
            file = getattr(sys.modules[key], "__file__", None)
            if "@" not in key and file is not None and Path(file).is_relative_to(finder.directory):
                del sys.modules[key]
