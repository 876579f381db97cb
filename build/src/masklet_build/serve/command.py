"""The command `masklet-build serve`."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
import threading
from pathlib import Path

from masklet_build.repository import image
from masklet_build.repository.configs import read_config
from masklet_build.serve import shared_memory
from masklet_build.serve.environment import PYTHON_VARIABLE
from masklet_build.serve.errors import GaveUp, ServeError
from masklet_build.serve.server import Server
from masklet_build.serve.supervisor import Policy, Supervisor

DESCRIPTION = """Runs Triton from the PyPI wheel on a model repository, in the foreground and supervised.

Triton is restarted when it or the process of a python model dies, when one gives no sign of life, and when what is computed does not get on;
videos that were live are then lost, and their clients have to open new ones. A server that is only slow is left alone. Signs of life are read
from the metrics; a frame goes through the server once at the start, and where the metrics leave doubt.

A file that told an earlier server to drain is removed at the start (not at a restart); `masklet drain` makes it."""

EPILOG = f"""example:
  masklet-build assemble efficienttam_ti_512 --engines engines/ --target embedded --out repo/
  masklet-build serve repo/ --grpc-port 8001
  masklet track clip.mp4 --url localhost:8001 --point 210,350 --out masks/

the python models run in the serving environment: numpy < 2, nvidia-pytriton and an engine runtime, without torch. It is found by --python,
else ${PYTHON_VARIABLE}, else it is the running interpreter's or, after `make setup`, .venv/serving.

stop it with Ctrl-C or SIGTERM: frames in flight are answered first. A second signal stops at once.

exit codes:
  0  stopped by a signal
  1  could not start; the message says why
  2  wrong arguments
  3  gave up after repeated restarts"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_serve` reads, and the help text."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("repository", type=Path, metavar="REPO", help="model repository, as `masklet-build assemble` makes it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine only; 0.0.0.0: every network)")
    for name, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        parser.add_argument(f"--{name}-port", type=int, default=port, metavar="PORT", help="(default: %(default)s; 0: a free one)")
    parser.add_argument("--python", type=Path, metavar="FILE", help="interpreter of the serving environment")
    parser.add_argument("--ready-timeout", type=float, default=300.0, metavar="SECONDS", help="for loading all models (default: %(default)g)")
    parser.add_argument("--exit-timeout", type=int, default=10, metavar="SECONDS", help="for frames in flight at the end (default: %(default)s)")
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=Policy.patience_s,
        metavar="SECONDS",
        help="for how long work may not get on, and signs of life be missing; or twenty times the longest so far (default: %(default)g)",
    )
    parser.add_argument("--restarts", type=_count, default=Policy.restarts, metavar="N", help="give up after so many (default: %(default)s; 0: none)")
    parser.add_argument("--within", type=_seconds, default=Policy.within_s, metavar="SECONDS", help="... within this time (default: %(default)g)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append Triton's log to FILE (default: a new file in the temporary folder)")
    parser.add_argument("--verbose", action="store_true", help="show Triton's log here as well")


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return seconds


def _count(text: str) -> int:
    if (count := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return count


def run_serve(args: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM. Returns the exit code; call it in the main thread."""
    for warning in image.warnings(args.repository):
        print(f"masklet-build serve: warning: {warning}", file=sys.stderr)
    if advice := image.advice(args.repository):
        print(f"masklet-build serve: {advice}", file=sys.stderr)
        return 1
    if scarce := shared_memory.warning(args.repository):
        print(f"masklet-build serve: warning: {scarce}", file=sys.stderr)
    log = args.log or _new_log()
    print(f"loading {args.repository}; Triton's log: {log}", flush=True)
    try:
        server = Server(
            args.repository,
            python=args.python,
            host=args.host,
            grpc_port=args.grpc_port,
            http_port=args.http_port,
            metrics_port=args.metrics_port,
            ready_timeout_s=args.ready_timeout,
            exit_timeout_s=args.exit_timeout,
            log=log,
        )
        _forget_drain(args.repository)
        policy = Policy(args.patience, args.restarts, args.within)
        supervisor = Supervisor(server, policy=policy, say=lambda line: print(line, flush=True))
        _stop_on_signals(supervisor)
        if args.verbose:
            threading.Thread(target=_follow, args=(log,), daemon=True).start()
        supervisor.run()
    except (ServeError, OSError) as error:
        print(f"masklet-build serve: {error}", file=sys.stderr)
        return 3 if isinstance(error, GaveUp) else 1
    except KeyboardInterrupt:  # the second signal; everything is cleaned up already
        pass
    print("stopped", flush=True)
    return 0


def _forget_drain(repository: Path) -> None:
    """Removes what told an earlier server to drain. A restart by the supervisor leaves it: that server still drains."""
    for file in drain_files(repository):
        if file.exists():
            file.unlink()
            print(f"removed {file}, by which an earlier server was drained", flush=True)


def drain_files(repository: Path) -> set[Path]:
    """The files that the memory banks of a repository watch for the word to drain. A repository of other models has none."""
    parameters = [read_config(path.parent).parameters for path in repository.glob("memory_bank*/config.pbtxt")]
    named = (known["drain_file"].string_value for known in parameters if "drain_file" in known)
    return {Path(name) for name in named if name}


def _new_log() -> Path:
    with tempfile.NamedTemporaryFile(prefix="masklet-triton-", suffix=".log", delete=False) as file:
        return Path(file.name)


def _stop_on_signals(supervisor: Supervisor) -> None:
    def handle(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the next one interrupts the waiting
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        supervisor.stop()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def _follow(path: Path) -> None:
    """Copies what is appended to a file to standard error, for ever."""
    path.touch()
    with path.open(errors="replace") as file:
        file.seek(0, 2)
        while True:
            line = file.readline()
            if line:
                print(line, end="", file=sys.stderr, flush=True)
            else:
                threading.Event().wait(0.2)
