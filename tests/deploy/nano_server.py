"""The type of the fixture that runs nano."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from masklet_build.serve import Server

ServeNano = Callable[[Mapping[str, str]], AbstractContextManager[Server]]  # takes settings of memory_bank
