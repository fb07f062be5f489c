"""``vmspec schema``: the JSON Schema of specs."""

import argparse
import json

from vmspec.show.json_schema import json_schema


def prepare(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


def run(options: argparse.Namespace) -> int:
    """Print it."""
    print(json.dumps(json_schema(), indent=2, default=str))
    return 0
