"""What TensorRT calls while it builds: the log and the progress. Importing this module imports TensorRT.

Both are called from inside TensorRT, which no Python exception may cross: so Ctrl-C is noted, and told to TensorRT at its next step.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsInt, TextIO

import tensorrt as trt
from tqdm import tqdm

_FINE = 1000  # parts that the bar of an engine is divided into


class Log(trt.ILogger):
    """Writes every line that TensorRT says to a file; remembers warnings and errors, each line once, in their order."""

    def __init__(self, file: TextIO) -> None:
        trt.ILogger.__init__(self)  # not super(): pybind11 asks for it by name
        self._file = file
        self.warnings: dict[str, None] = {}
        self.errors: dict[str, None] = {}

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any of its threads."""
        self._file.write(f"[{severity.name}] {msg}\n")
        if severity == trt.ILogger.Severity.WARNING:
            self.warnings[msg] = None
        elif severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors[msg] = None


class Progress(trt.IProgressMonitor):
    """A bar with the time that remains. TensorRT reports nested phases of known numbers of steps; the bar shows the part of the outermost one."""

    def __init__(self, engine: str) -> None:
        trt.IProgressMonitor.__init__(self)
        self.cancelled = False
        self._lock = threading.Lock()
        self._parents: dict[str, str | None] = {}
        self._steps: dict[str, int] = {}
        self._done: dict[str, int] = {}
        pause = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file needs no moving bar
        form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left {postfix}"
        self._bar = tqdm(total=_FINE, desc=engine, bar_format=form, mininterval=pause, maxinterval=pause)

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt) -> None:
        """Called by TensorRT."""
        with self._lock:
            self._parents[phase_name] = parent_phase
            self._steps[phase_name], self._done[phase_name] = max(int(num_steps), 1), 0
            self._bar.set_postfix_str(phase_name, refresh=False)

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        """Called by TensorRT; False stops the build."""
        with self._lock:
            self._done[phase_name] = int(step) + 1
            self._show()
        return not self.cancelled

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        with self._lock:
            self._done[phase_name] = self._steps[phase_name]
            self._show()
            del self._parents[phase_name], self._steps[phase_name], self._done[phase_name]

    def _show(self) -> None:
        """A phase that runs inside another adds a part of a step to it. The bar never goes back: several phases may follow each other."""
        outermost = [phase for phase, parent in self._parents.items() if parent not in self._parents]
        part = max((self._part(phase) for phase in outermost), default=0.0)
        self._bar.update(max(0, round(_FINE * part) - self._bar.n))

    def _part(self, phase: str) -> float:
        inside = [self._part(child) for child, parent in self._parents.items() if parent == phase]
        return min(1.0, (self._done[phase] + max(inside, default=0.0)) / self._steps[phase])

    def close(self) -> None:
        """Ends the bar's line."""
        self._bar.close()


@contextmanager
def stopping_at_a_step(progress: Progress) -> Iterator[None]:
    """Inside, Ctrl-C stops the build at TensorRT's next step; KeyboardInterrupt is raised when it has stopped. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(*_: object) -> None:
        progress.cancelled = True

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if progress.cancelled:
        raise KeyboardInterrupt
