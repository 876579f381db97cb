"""What ends an assembly other than success."""

from __future__ import annotations


class AssembleError(Exception):
    """The repository cannot be assembled; the message says why and what to do."""
