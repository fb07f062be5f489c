"""Devices of the user's own: a class in a Python file beside the spec."""

import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from runner.devices.device import Device, DeviceError, said

_importing = threading.Lock()  # sys.path and sys.modules belong to the whole process


class Own(Device):
    """Stands in the device table for every class of the user's own."""

    @classmethod
    def make(cls, model: Any, directory: Path) -> Device:
        return load(model.cls, directory, model.options)


def load(name: str, directory: Path, options: Mapping[str, object]) -> Device:
    """Make the device that ``name``, ``module:Class``, names in ``directory``, with ``options`` as keyword arguments.

    The file is run anew for each device, under a module name of its own, so specs in different directories may use the
    same names. It may import its neighbours while it is loaded. Raises DeviceError.
    """
    module_name, _, class_name = name.partition(":")
    path = directory.joinpath(*module_name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise DeviceError(f"device class {name}: there is no file {path}")
    try:
        module = _run(path)
    except (Exception, SystemExit) as error:
        raise DeviceError(f"device class {name}: {path} cannot be loaded: {said(error, str(path))}") from error
    cls = getattr(module, class_name, None)
    if cls is None:
        raise DeviceError(f"device class {name}: {path} has no {class_name}")
    if not (isinstance(cls, type) and issubclass(cls, Device)):
        raise DeviceError(f"device class {name}: {class_name} in {path} is not a subclass of runner.devices.Device")
    try:
        return cls(**options)
    except (Exception, SystemExit) as error:
        raise DeviceError(f"device class {name}: {class_name}() failed: {said(error, str(path))}") from error


def _run(path: Path) -> ModuleType:
    with _importing, _neighbours(path.parent):
        unique = f"{path.stem}@{path}#{sum(key.startswith(f'{path.stem}@{path}#') for key in sys.modules)}"
        spec = importlib.util.spec_from_file_location(unique, path)
        assert spec is not None  # the suffix is .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module  # dataclasses, pickle and the like look a class's module up here
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
        return module


@contextmanager
def _neighbours(directory: Path) -> Iterator[None]:
    """Let imports find the files in ``directory``, and leave no trace of it: neither on the import path, nor bytecode
    beside the user's files, nor modules under names that another spec's files may have too."""
    before = set(sys.modules)
    path, bytecode = sys.path[:], sys.dont_write_bytecode
    sys.path.insert(0, str(directory))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        for key in set(sys.modules) - before:
            file = getattr(sys.modules[key], "__file__", None)
            if "@" not in key and file is not None and Path(file).is_relative_to(directory):
                del sys.modules[key]
