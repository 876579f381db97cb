"""The command `masklet-build serve`."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import math
import signal
import sys
from pathlib import Path

from masklet_build.repository import image
from masklet_build.repository.configs import read_config
from masklet_build.serve import log_file, shared_memory
from masklet_build.serve.address import LOOPBACK, Address, bracketed, is_loopback
from masklet_build.serve.environment import PYTHON_VARIABLE, TRITON
from masklet_build.serve.errors import GaveUp, ServeError
from masklet_build.serve.server import Server
from masklet_build.serve.supervisor import Policy, Supervisor
from masklet_build.serve.triton_options import forget_drain

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
    every = "0.0.0.0 for every IPv4 network, :: for every network"
    parser.add_argument("--host", default=LOOPBACK, help=f"address of gRPC (default: %(default)s, this machine only; {every})")
    parser.add_argument("--http-host", type=_ip, default=LOOPBACK, metavar="IP", help="of HTTP, which serves health alone (default: %(default)s)")
    parser.add_argument("--metrics-host", type=_ip, default=LOOPBACK, metavar="IP", help="of metrics, for Prometheus (default: %(default)s)")
    for name, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        parser.add_argument(f"--{name}-port", type=_port, default=port, metavar="PORT", help="(default: %(default)s; 0: a free one)")
    parser.add_argument("--python", type=Path, metavar="FILE", help="interpreter of the serving environment")
    parser.add_argument("--ready-timeout", type=_seconds, default=300.0, metavar="SECONDS", help="for loading all models (default: %(default)g)")
    parser.add_argument("--exit-timeout", type=_count, default=10, metavar="SECONDS", help="for frames in flight at the end (default: %(default)s)")
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=Policy.patience_s,
        metavar="SECONDS",
        help="restart after work has not got on for so long, and for twenty times the longest so far; and after so long without a sign of life, "
        "15 at least (default: %(default)g)",
    )
    parser.add_argument("--restarts", type=_count, default=Policy.restarts, metavar="N", help="give up after so many (default: %(default)s; 0: none)")
    parser.add_argument("--within", type=_seconds, default=Policy.within_s, metavar="SECONDS", help="... within this time (default: %(default)g)")
    bound = f"beyond {log_file.LOG_MIB} MiB it becomes FILE.1 and begins anew"
    log = f"append Triton's log to FILE; {bound} (default: a new file, kept if the server fails)"
    parser.add_argument("--log", type=Path, metavar="FILE", help=log)
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
        _warn(warning)
    if advice := image.advice(args.repository):
        print(f"masklet-build serve: {advice}", file=sys.stderr)
        return 1
    if scarce := shared_memory.warning(args.repository):
        _warn(scarce)
    try:
        log = args.log or log_file.new_log()
    except OSError as error:
        print(f"masklet-build serve: no place for Triton's log: {error}. Set TMPDIR to a folder that can be written, or give --log.", file=sys.stderr)
        return 1
    code = _serve(args, log)
    if not args.log:
        log_file.keep_or_remove(log, code)
    return code


def _serve(args: argparse.Namespace, log: Path) -> int:
    print(f"loading {args.repository}; Triton's log: {log}", flush=True)
    try:
        server = Server(
            args.repository,
            python=args.python,
            host=args.host,
            http_host=args.http_host,
            metrics_host=args.metrics_host,
            grpc_port=args.grpc_port,
            http_port=args.http_port,
            metrics_port=args.metrics_port,
            ready_timeout_s=args.ready_timeout,
            exit_timeout_s=args.exit_timeout,
            log=log,
        )
        if open_doors := exposure(server.address):
            _warn(open_doors)
        _forget_drain(args.repository, server.drain_file)
        policy = Policy(args.patience, args.restarts, args.within)
        supervisor = Supervisor(server, policy=policy, say=lambda line: print(line, flush=True))
        log_file.look_after(log, args.verbose)
        with _stopped_by_signals(supervisor):
            supervisor.run()
    except (ServeError, OSError) as error:
        print(f"masklet-build serve: {error}", file=sys.stderr)
        return 3 if isinstance(error, GaveUp) else 1
    except KeyboardInterrupt:  # the second signal; everything is cleaned up already
        pass
    print("stopped", flush=True)
    return 0


def exposure(address: Address) -> str | None:
    """What it means that other machines reach this server; None: they do not."""
    names = {"grpc": "gRPC", "http": "HTTP", "metrics": "metrics"}
    reached = [f"{names[name]} at {bracketed(host)}:{port}" for name, (host, port) in address.listeners().items() if not is_loopback(host)]
    if not reached:
        return None
    return (
        f"other machines may reach {', '.join(reached)}. This is Triton {TRITON}; for versions before 25.07 attacks are published that need no login "
        "(CVE-2025-23310 and -23311 over HTTP, -23319, -23320 and -23334 by shared memory), and `serve` has neither authentication nor TLS. Let only "
        "machines that you trust reach it, or serve with the image of docker/ behind a gateway; docker/security.md says what is open."
    )


def _warn(text: str) -> None:
    print(f"masklet-build serve: warning: {text}", file=sys.stderr, flush=True)


def _port(text: str) -> int:
    if not 0 <= (port := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**16 - 1}")
    return port


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address, which Triton needs here, as 127.0.0.1 or ::1") from error


def _forget_drain(repository: Path, of_server: Path | None = None) -> None:
    """Removes what told an earlier server to drain. A restart by the supervisor leaves it: that server still drains."""
    for file in sorted(drain_files(repository, of_server)):
        if said := forget_drain(file):
            print(said, flush=True)


def drain_files(repository: Path, of_server: Path | None = None) -> set[Path]:
    """The files by which the memory banks of a repository drain. A repository of other models has none.

    of_server   the file that the server names to banks whose config names none
    """
    parameters = [read_config(path.parent).parameters for path in repository.glob("memory_bank*/config.pbtxt")]
    named = (known["drain_file"].string_value or of_server for known in parameters if "drain_file" in known)
    return {Path(name) for name in named if name}


def _stopped_by_signals(supervisor: Supervisor) -> contextlib.AbstractContextManager[None]:
    def handle(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the next one interrupts the waiting
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return supervisor.stopped_by_signals()
