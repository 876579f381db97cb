"""The command `masklet`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from masklet.cli.arguments import parse
from masklet.cli.failure import Failure
from masklet.cli.told import told
from masklet.errors import MaskletError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; gives the exit code, as `masklet --help` documents it."""
    arguments = parse(argv)
    try:
        return int(import_module(f"masklet.cli.{arguments.command}").run(arguments))  # alone: what tracks is large
    except (MaskletError, Failure, OSError, ValueError) as error:  # ValueError: a url that is none
        print(f"masklet: {told(error)}", file=sys.stderr)
        return 1
