"""What ends a start other than success."""

from __future__ import annotations


class ServeError(Exception):
    """The server cannot start or did not stay up. The text says why and what to do."""


class GaveUp(ServeError):
    """Restarts did not help."""


class Stopped(Exception):
    """We were asked to stop while the server was starting."""
