"""How the command ends when it cannot do its work."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class Failure(Exception):
    """The command cannot go on; the text is for the user."""


def need(module: str) -> ModuleType:
    """A module of the extra `cli`. Raises Failure that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise Failure(f"this command needs {module.split('.')[0]}, which cannot be imported ({error}): pip install 'masklet[cli]'") from error
