"""The file of Triton's log: where it is, how large it becomes, when it stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TextIO

from masklet_build.serve import log as triton_log

LOG_MIB = 64


def new_log() -> Path:
    """An empty file in the temporary folder. Raises OSError."""
    with tempfile.NamedTemporaryFile(prefix="masklet-triton-", suffix=".log", delete=False) as file:
        return Path(file.name)


def keep_or_remove(log: Path, code: int) -> None:
    """A log that nobody asked for goes at a clean end, and stays where it may say what went wrong. It may be gone: temporary folders are swept."""
    if code and log.exists() and log.stat().st_size:
        print(f"masklet-build serve: Triton's log: {log}", file=sys.stderr)
    else:
        log.unlink(missing_ok=True)
        _older(log).unlink(missing_ok=True)


def _older(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def look_after(log: Path, show: bool) -> None:
    """Makes the log. Until it is gone a thread bounds it, as Triton goes on appending to it, and copies that to standard error if wanted, else says
    which engines are compiled."""
    with contextlib.suppress(OSError):  # where it cannot be made the server says why
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()  # here: in the thread it might come after a start that failed at once, whose log has been removed
        threading.Thread(target=_look_after, args=(log, log.open(errors="replace"), show), name="log", daemon=True).start()


def _look_after(log: Path, file: TextIO, show: bool) -> None:
    with contextlib.suppress(OSError), file:
        file.seek(0, os.SEEK_END)
        while True:
            if line := file.readline():
                if show:
                    print(line, end="", file=sys.stderr, flush=True)
                elif compiling := triton_log.progress(line):
                    print(compiling, flush=True)
                continue
            bound(log, LOG_MIB << 20)
            if file.tell() > log.stat().st_size:
                file.seek(0)
            time.sleep(0.2)


def bound(log: Path, limit: int) -> None:
    """Moves what a log of more than `limit` bytes holds to FILE.1. What is appended at that moment may be lost; all, where FILE.1 finds no room."""
    if log.stat().st_size > limit:
        try:
            shutil.copyfile(log, _older(log))
        except OSError:  # a full disk above all, on which the log must not grow on
            with contextlib.suppress(OSError):
                _older(log).unlink()
        os.truncate(log, 0)
