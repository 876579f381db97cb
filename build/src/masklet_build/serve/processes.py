"""The end of processes, told by the kernel: no look at /proc finds it later, and none costs anything while they live."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from masklet_build.serve.errors import ServeError

_PIDFD_OPEN = 434  # its number on every architecture that Triton runs on


class Bell:
    """May be rung by a signal handler, or another thread, while somebody waits for it; stays rung. A pipe: threading.Event has a lock, for which a
    handler would wait that interrupted the one who holds it."""

    def __init__(self) -> None:
        self._heard, self._rung = os.pipe()
        os.set_blocking(self._rung, False)  # as signals need it

    def __del__(self) -> None:
        os.close(self._heard)
        os.close(self._rung)

    def set(self) -> None:
        """Rings it."""
        os.write(self._rung, b".")

    @contextmanager
    def rung_by_signals(self) -> Iterator[None]:
        """Meanwhile every signal that has a handler rings it. Call it in the main thread: it alone runs handlers, once something wakes it, for the
        kernel may have given the signal to another thread."""
        before = signal.set_wakeup_fd(self._rung, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def wait(self, timeout_s: float) -> bool:
        """Waits until it rings, so many seconds at most; whether it rang."""
        return bool(_ready([self._heard], timeout_s))

    def fileno(self) -> int:
        """For poll."""
        return self._heard


class Processes:
    """Processes that are to live; a context manager. names: by process id."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = dict(names)
        self._open: dict[int, int] = {}  # descriptor -> process id
        self._gone: list[str] = []

    def __enter__(self) -> Processes:
        for pid, name in self._names.items():
            try:
                self._open[_pidfd_open(pid)] = pid
            except ProcessLookupError:
                self._gone.append(name)
            except OSError as error:
                self.__exit__()
                raise ServeError(
                    f"cannot watch processes, pidfd_open: {error.strerror}. Linux 5.3 and later have it, where seccomp allows it."
                ) from error
        return self

    def __exit__(self, *error: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def wait(self, *bells: Bell, timeout_s: float | None = None) -> list[str]:
        """Waits until a process ends, a bell rings, or time is up; the names of those that ended."""
        if self._gone:
            return self._gone
        ready = _ready([*self._open, *(bell.fileno() for bell in bells)], timeout_s)
        return [self._names[self._open[descriptor]] for descriptor in ready if descriptor in self._open]


def _pidfd_open(pid: int) -> int:
    """As os.pidfd_open, which is missing where Python was built beside the headers of an old Linux, as conda's and uv's often are."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(_PIDFD_OPEN, pid, 0))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor


def _ready(descriptors: list[int], timeout_s: float | None) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout_s is None else 1000 * timeout_s)]
