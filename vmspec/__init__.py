"""TOML to frozen models, all checks, and the plan of a virtual machine. No KVM here: it runs anywhere.

``load(path)`` gives a :class:`Spec`; ``Document.open(path).plan()`` gives the plan, with every problem located.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from vmspec.document import Document
    from vmspec.loading import load, loads
    from vmspec.schema.problems import Problem, SpecError, SpecWarning
    from vmspec.show.dump import dumps
    from vmspec.show.json_schema import json_schema
    from vmspec.spec.models import Spec

__all__ = [
    "Document",
    "Problem",
    "Spec",
    "SpecError",
    "SpecWarning",
    "__version__",
    "dumps",
    "json_schema",
    "load",
    "loads",
]

__version__ = "0.1.0"

__getattr__, __dir__ = exports(
    __name__,
    {
        "Document": "vmspec.document",
        "Problem": "vmspec.schema.problems",
        "Spec": "vmspec.spec.models",
        "SpecError": "vmspec.schema.problems",
        "SpecWarning": "vmspec.schema.problems",
        "dumps": "vmspec.show.dump",
        "load": "vmspec.loading",
        "loads": "vmspec.loading",
        "json_schema": "vmspec.show.json_schema",
    },
)
