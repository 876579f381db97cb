"""What a compiler calls while it builds: the log and the progress.

Both are called from inside the compiler, which no Python exception may cross: so Ctrl-C is noted, and told to it at its next step.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, SupportsInt

_FINE = 1000  # parts that the bar of an engine is divided into


class Log:
    """Writes every line that a compiler says to a file; remembers warnings and errors, each line once, in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self.warnings: dict[str, None] = {}
        self.errors: dict[str, None] = {}

    def add(self, severity: str, text: str) -> None:
        """A message; severity: the name of one of `ILogger.Severity`. From any thread."""
        with suppress(OSError):  # of a full disk `close` tells, once, not NVIDIA's bindings at each line
            self._file.write(f"[{severity}] {text}\n")
        if severity == "WARNING":
            self.warnings[text] = None
        elif severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors[text] = None

    def text(self) -> str:
        """All that was said so far."""
        self._file.flush()
        return self.path.read_text(encoding="utf-8")

    def close(self) -> None:
        """Closes the file. Raises OSError where not all was written."""
        self._file.close()


@cache
def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # not super(): pybind11 asks for it by name
            self.to: Log | None = None

        def log(self, severity: Any, msg: str) -> None:
            if self.to is not None:
                self.to.add(severity.name, msg)

    return Logger()


@contextmanager
def logging(trt: Any, path: Path) -> Iterator[tuple[Log, Any]]:
    """The log of one build, in the file `path`, and what to give to NVIDIA's classes.

    That is the same for all builds of this process: NVIDIA's library keeps one logger, and warns of another as long as anything lives that knows it.
    """
    log, logger = Log(path), _logger(trt)
    logger.to = log
    try:
        yield log, logger
    finally:
        logger.to = None
        log.close()


class Progress:
    """A bar with the time that remains. Compilers report nested phases of known numbers of steps; the bar shows the part of the outermost one."""

    def __init__(self, engine: str) -> None:
        from tqdm import tqdm  # only those who build need it

        self.cancelled = False
        self._lock = threading.Lock()
        self._parents: dict[str, str | None] = {}
        self._steps: dict[str, int] = {}
        self._done: dict[str, int] = {}
        pause = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file needs no moving bar
        form = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left {postfix}"
        self._bar = tqdm(total=_FINE, desc=engine, bar_format=form, mininterval=pause, maxinterval=pause)

    @property
    def shown(self) -> float:
        """The part that the bar shows, 0 to 1."""
        return float(self._bar.n / _FINE)

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another or not."""
        with self._lock:
            self._parents[phase] = parent
            self._steps[phase], self._done[phase] = max(steps, 1), 0
            self._bar.set_postfix_str(phase, refresh=False)

    def step(self, phase: str, step: int) -> bool:
        """A step of a phase is done; False stops the build."""
        with self._lock:
            self._done[phase] = step + 1
            self._show()
        return not self.cancelled

    def finish(self, phase: str) -> None:
        """A phase is over. Of a build that is stopped all phases are, without their steps."""
        with self._lock:
            if not self.cancelled:
                self._done[phase] = self._steps[phase]
                self._show()
            del self._parents[phase], self._steps[phase], self._done[phase]

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


def monitor(trt: Any, progress: Progress) -> Any:
    """What to give to a builder's configuration, for `progress` to be told."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt) -> None:
            progress.start(phase_name, parent_phase, int(num_steps))

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            return progress.step(phase_name, int(step))

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


@contextmanager
def stopping_at_a_step(progress: Progress) -> Iterator[None]:
    """Inside, Ctrl-C stops the build at the compiler's next step; KeyboardInterrupt is raised when it has stopped. Only in the main thread.

    To be around all that a compiler does with a log: a KeyboardInterrupt in the middle of a line that it logs is printed by its bindings, and lost.
    """
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
            raise KeyboardInterrupt  # in place of a refusal: the compiler says that it was stopped
