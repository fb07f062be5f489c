"""The arguments that several commands have."""

import argparse

from vmspec.document import Document


def overrides(parser: argparse.ArgumentParser) -> None:
    """Add --set."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the spec, as in vm.memory=1GiB; may be repeated",
    )


def spec(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add a spec, with ``more`` in its help, and --set."""
    parser.add_argument("spec", metavar="SPEC", help=f"the spec, a TOML file{more}")
    overrides(parser)


def document(options: argparse.Namespace) -> Document:
    """The spec that the arguments name. Raises SpecError."""
    return Document.open(options.spec, options.set)
