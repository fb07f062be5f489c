"""TOML to frozen models, all checks, and the plan of a virtual machine. No KVM here: it runs anywhere.

``load(path)`` gives a :class:`Spec`; ``Document.open(path).plan()`` gives the plan, with every problem located.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmspec.document import Document
    from vmspec.json_schema import schema
    from vmspec.loading import load, loads
    from vmspec.models import Spec
    from vmspec.problems import Problem, SpecError
    from vmspec.show import dumps

__all__ = ["Document", "Problem", "Spec", "SpecError", "__version__", "dumps", "load", "loads", "schema"]

__version__ = "0.1.0"

_HOMES = {
    "Document": "vmspec.document",
    "Problem": "vmspec.problems",
    "Spec": "vmspec.models",
    "SpecError": "vmspec.problems",
    "dumps": "vmspec.show",
    "load": "vmspec.loading",
    "loads": "vmspec.loading",
    "schema": "vmspec.json_schema",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: a build reads vmspec.record before attrs is there, and a
    command pays only for what it uses."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
