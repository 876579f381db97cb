"""`masklet drain`: a server is told to take no new videos, and waited for until its last one is gone."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from masklet.cli.connection import positive, web
from masklet.cli.failure import Failure
from masklet.errors import ServerUnavailable
from masklet.gauges import read_banks, read_drain_files

_DESCRIPTION = """\
Makes the file that tells a server to drain, and waits until it has no live video: it refuses new ones from then on, and every answer says so, so that
clients can move their videos (`TrackedFrame.draining`). Runs on the server's machine. Afterwards the server can be stopped; the file
stays, and `masklet-build serve` and the image remove it when they start."""

_EPILOG = """\
examples:
  masklet drain                                               before the server here is stopped, as in a preStop hook
  masklet drain --grace-s 10 --deadline-s 600                 gateways get 10 s to send new videos elsewhere before any is refused
  masklet drain --undo                                        the server takes videos again

exit codes: 0 no video is live any more; 1 the deadline passed, or nothing answers; 2 wrong usage; 130 stopped with Ctrl-C, the server drains on
"""

_LOOK_S = 1.0  # the gauges of a server are at most that old
_SAY_S = 10.0
_NOTICE_S = 3.0  # a server has seen the file by then, and its gauges say so
_SILENCE_S = 10.0  # how long the metrics may be silent before nobody is waited for
_INTERRUPTED = 130  # what shells give for Ctrl-C


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "drain",
        help="tell a server to take no new videos, and wait until none is live",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--drain-file",
        type=Path,
        metavar="FILE",
        help="the file that tells the server to drain (default: the one that its metrics name)",
    )
    parser.add_argument("--metrics-url", type=web, default="http://localhost:8002/metrics", metavar="URL", help="(default: %(default)s)")
    parser.add_argument(
        "--deadline-s", type=positive(float), default=900.0, metavar="S", help="how long to wait for live videos (default: %(default)g)"
    )
    parser.add_argument("--grace-s", type=float, default=0.0, metavar="S", help="wait so long first, while videos still begin (default: %(default)g)")
    parser.add_argument("--undo", action="store_true", help="remove the file instead")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises Failure for the file, MaskletError for metrics that are not masklet's."""
    files = [arguments.drain_file] if arguments.drain_file else _files_of(arguments.metrics_url)
    if arguments.undo:
        for file in files:
            if not arguments.drain_file:
                _check_made_to_drain(file, arguments.metrics_url)
            _change(file, "removed", lambda file: file.unlink(missing_ok=True))
            _say(f"{file} is gone: the server takes videos")
        return 0
    try:
        if arguments.grace_s > 0:
            _say(f"draining in {arguments.grace_s:g} s")
            time.sleep(arguments.grace_s)
        for file in files:
            _change(file, "made", _make)
        return _wait(arguments, files)
    except KeyboardInterrupt:
        _say(f"stopped waiting; the server drains on while {_listed(files)} exists (masklet drain --undo)")
        return _INTERRUPTED


def _files_of(metrics_url: str) -> list[Path]:
    """What the server says. Raises Failure where it says nothing."""
    try:
        files = read_drain_files(metrics_url, _SILENCE_S)
    except ServerUnavailable as error:
        raise Failure(f"{error} The file that tells the server to drain is read from there; name it with --drain-file.") from error
    if not files:
        raise Failure(
            f"{metrics_url} names no file that tells the server to drain: it was started without MASKLET_DRAIN_FILE in its environment, "
            "or is of another version, or has no custom metrics. Name the file with --drain-file."
        )
    return [Path(file) for file in sorted(files)]


def _check_made_to_drain(file: Path, metrics_url: str) -> None:
    """Raises Failure for what may be something else: where no server listens anybody may answer, and this may run as root."""
    if not _may_be_a_drains(file):
        raise Failure(
            f"{metrics_url} names {file} as the file that tells the server to drain, and that is no empty file, as a drain makes. It was not "
            "removed. If it is the server's all the same, name it with --drain-file."
        )


def _may_be_a_drains(file: Path) -> bool:
    with suppress(FileNotFoundError):
        found = file.lstat()
        return stat.S_ISREG(found.st_mode) and not found.st_size
    return True


def _make(file: Path) -> None:
    """A file of a third user tells the server nothing, and would stay in the way of one that does."""
    file.touch()
    if file.stat().st_uid not in (0, os.geteuid()) and _may_be_a_drains(file):
        file.unlink()
        file.touch()


def _change(file: Path, how: str, change: Callable[[Path], None]) -> None:
    """Raises Failure."""
    try:
        change(file)
    except OSError as error:
        raise Failure(
            f"{file} cannot be {how}: {error.strerror}. It is the file that tells a server to drain, while it is there and belongs to the server's "
            "user or root: run this as one of them, on the server's machine. Another file: MASKLET_DRAIN_FILE in the server's environment."
        ) from error


def _wait(arguments: argparse.Namespace, files: Sequence[Path]) -> int:
    began = time.monotonic()
    said_at, state = began - _SAY_S, f"{arguments.metrics_url} has not answered"
    for draining, videos in _states(arguments.metrics_url, began + arguments.deadline_s):
        now = time.monotonic()
        if draining and videos == 0:
            _say(f"no video is live after {now - began:.0f} s")
            return 0
        before, state = state, _state(draining, videos, files)
        if (draining or now - began >= _NOTICE_S) and (state != before or now - said_at >= _SAY_S):
            _say(state)
            said_at = now
    _say(f"the deadline of {arguments.deadline_s:g} s has passed: {state}")
    return 1


def _state(draining: bool, videos: int, files: Sequence[Path]) -> str:
    if draining:
        return f"{videos} live"
    return (
        f"{videos} live, and the server has not seen {_listed(files)} yet. Is it the file that its metric masklet_drain_file_info names, and did its "
        "user or root make it?"
    )


def _listed(files: Sequence[Path]) -> str:
    return " and ".join(map(str, files))


def _states(metrics_url: str, deadline: float) -> Iterator[tuple[bool, int]]:
    """Whether every bank drains, and how many videos are live, again and again until the deadline. Raises ServerUnavailable after a long silence."""
    heard = time.monotonic()
    while (now := time.monotonic()) < deadline:
        try:
            banks = read_banks(metrics_url, _SILENCE_S).values()
            heard = now
            yield all(bank.draining for bank in banks), sum(bank.videos for bank in banks)
        except ServerUnavailable:
            if now - heard >= _SILENCE_S:
                raise
        time.sleep(max(0.0, min(_LOOK_S, deadline - time.monotonic())))


def _say(text: str) -> None:
    print(f"masklet drain: {text}", file=sys.stderr, flush=True)
