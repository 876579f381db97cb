"""The error of everything that starts, watches or stops a server."""

from __future__ import annotations


class ServeError(Exception):
    """The server cannot start or did not stay up. The text says why and what to do."""
