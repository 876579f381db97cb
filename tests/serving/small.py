"""The network that the tests serve, and the way to serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from masklet_build.serve import Server

VARIANT = "efficienttam_ti_512@64"

Serve = Callable[[Mapping[str, str]], AbstractContextManager[Server]]  # settings ("model.parameter" -> value) to a running server
