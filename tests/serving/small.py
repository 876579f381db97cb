"""The network that the tests serve, and the way to serve it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from masklet_build.serve import Server

VARIANT = "efficienttam_ti_512@64"


class Serve(Protocol):
    """Assembles a server with settings ("model.parameter" -> value) and other options of `assemble`, and runs it."""

    def __call__(self, settings: Mapping[str, str], **options: str) -> AbstractContextManager[Server]: ...
