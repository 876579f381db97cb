"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def serving_python() -> Path:
    """Interpreter of the serving environment: the tests run beside torch and numpy 2, the server cannot."""
    return Path(os.environ.get("MASKLET_SERVING_PYTHON", sys.executable))
