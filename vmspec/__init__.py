"""TOML to frozen models, all checks, and the plan of a virtual machine. No KVM here: it runs anywhere.

``load(path)`` returns a :class:`Spec`; ``Document.open(path).plan()`` returns the :class:`Plan`, and raises with every
problem located. docs/api.md describes the names that this package promises to keep.
"""

from typing import TYPE_CHECKING

from vmspec.host.exports import exports

if TYPE_CHECKING:
    from vmspec.document import Document
    from vmspec.loading import load, loads
    from vmspec.plan.plan import Plan
    from vmspec.schema.problems import Problem, SpecError, SpecWarning
    from vmspec.show.dump import dumps
    from vmspec.show.json_schema import json_schema
    from vmspec.spec.models import Spec
else:  # unknown to type checkers, for which every name would be there
    __getattr__, __dir__ = exports(
        __name__,
        {
            "Document": "vmspec.document",
            "Plan": "vmspec.plan.plan",
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

__all__ = [
    "Document",
    "Plan",
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
