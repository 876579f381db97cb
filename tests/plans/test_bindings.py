"""The builder and the runner agree with TensorRT's Python API: with_bindings.py, in a process that can import NVIDIA's bindings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.plans.bindings import ROOT, environment_of_bindings


@pytest.mark.bindings
def test_builder_and_runner_work_over_the_real_classes(request: pytest.FixtureRequest) -> None:
    environment = environment_of_bindings(request.config.cache.mkdir("tensorrt-bindings"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name("with_bindings.py"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
