"""Signals in a process that runs engines, as commands do: their handlers in Python are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.embedded.tiny_engines import attention_engine

AFTER_ENGINES = """
import gc, signal, sys
from pathlib import Path
from masklet_build.embedded.runners import OpenVinoRunner

engines = [OpenVinoRunner(Path(sys.argv[1]), "fp32", 1, 1, "cpu") for _ in range(2)]
while engines:
    del engines[0]
    gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("handled", flush=True))
signal.raise_signal(signal.SIGINT)
print("alive", flush=True)
"""


def test_a_signal_after_engines_were_made_and_dropped_is_handled(tmp_path: Path) -> None:
    attention_engine(tmp_path / "engine", 1, "openvino")
    done = subprocess.run([sys.executable, "-c", AFTER_ENGINES, str(tmp_path / "engine.onnx")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr
