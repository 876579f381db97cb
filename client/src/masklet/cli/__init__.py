"""The command `masklet`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from masklet.cli import drain, probe, track
from masklet.cli.arguments import parse
from masklet.cli.failure import Failure
from masklet.cli.told import told
from masklet.errors import MaskletError

_COMMANDS = {"track": track.run, "probe": probe.run, "drain": drain.run}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; gives the exit code, as `masklet --help` documents it."""
    arguments = parse(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except (MaskletError, Failure, OSError, ValueError) as error:  # ValueError: a url that is none
        print(f"masklet: {told(error)}", file=sys.stderr)
        return 1
