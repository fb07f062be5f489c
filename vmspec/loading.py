"""Specs from files and texts."""

from collections.abc import Sequence
from pathlib import Path

from vmspec.document import Document
from vmspec.spec.models import Spec


def load(path: str | Path, overrides: Sequence[str] | str = ()) -> Spec:
    """The spec of a file, with ``--set`` overrides applied. Raises SpecError with every problem located."""
    return Document.open(path, overrides).spec()


def loads(text: str, directory: str | Path, overrides: Sequence[str] | str = (), file: Path | None = None) -> Spec:
    """The spec of a text. Relative paths in it begin at ``directory``; problems name ``file``."""
    return Document(text, Path(directory).absolute(), overrides, file).spec()
