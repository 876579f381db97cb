"""Reads the reason of a failure out of Triton's log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_WITHOUT_GPU = ("CudaDriverHelper has not been initialized", "unable to create stream")  # said at every start on a machine that has none

# E1121 02:30:00.000000 123 model_lifecycle.cc:642] "failed to load 'toy' version 1: Internal: ValueError: ...\n\nAt:\n  model.py(3): initialize\n"
_FAILED_MODEL = re.compile(r"failed to load '([^']+)' version \d+: (.*?)\"?$")
_ERROR_LINE = re.compile(r"^E\d{4} [\d:.]+ \d+ [^\]]+\] \"?(.*?)\"?$")
# I1121 02:30:00.000000 123 logs.py:22] "memory_attention: compiling kernels for NVIDIA GeForce RTX 4090; none were kept, so this takes longest"
_COMPILING = re.compile(r"^I\d{4} [\d:.]+ \d+ [^\]]+\] \"?(\S+: (?:compiling kernels for|ready for) .*?)\"?$")
# masklet memory_bank_0_0: stopped for 1.2 s while it had work; it ends, since Triton may have given it up
_STAGE_ENDS = re.compile(r"^masklet \S+: (.*(?:given it up|is ended).*)$")
_SHOWN = 12
_TAIL = 1 << 16


def read(path: Path, begin: int) -> str:
    """The log from byte `begin` on; empty while there is none."""
    return path.read_bytes()[begin:].decode(errors="replace") if path.exists() else ""


def failed_models(text: str) -> dict[str, str]:
    """Model name -> why it did not load, line breaks restored."""
    return {found[1]: _unescape(found[2]) for line in text.splitlines() if (found := _FAILED_MODEL.search(line))}


def progress(line: str) -> str | None:
    """What a line says of an engine that is compiled for this GPU, which may take long; None: something else."""
    return found[1] if (found := _COMPILING.match(line.rstrip("\n"))) else None


def failure(text: str) -> str:
    """Why a server did not start: each model that failed with its traceback, else the error lines, else the end of the log."""
    models = failed_models(text)
    if models:
        return "\n".join(f"model {name!r} failed to load: {reason}" for name, reason in models.items())
    errors = list(_errors(text))
    telling = [line for line in errors if not any(words in line for words in _WITHOUT_GPU)]
    lines = telling or errors or [line for line in text.splitlines() if line.strip()] or ["(the log is empty)"]
    return "\n".join(lines[-_SHOWN:])


def last_words(path: Path, names: list[str]) -> str:
    """Why python models ended themselves, or each other, as masklet.stage says it at the end of the log; empty where they did not."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    said = [found[1] for line in lines if (found := _STAGE_ENDS.match(line)) and any(name in line for name in names)]
    return said[-1] if said else ""


def _errors(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if (found := _ERROR_LINE.match(line)) or line.startswith(("terminate", "  what():", "Signal", "Traceback")) or "error while loading" in line:
            yield _unescape(found[1]) if found else line


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace('\\"', '"').strip()
