"""`masklet probe`: whether a server is alive, or with --ready, whether it takes videos."""

from __future__ import annotations

import argparse
import time

from masklet.cli.connection import add_connection, positive, tls_of
from masklet.health import Health, probe, unready

_DESCRIPTION = """\
Sends two black frames with a click, each a video of its own, through every model of the server, and says whether they were answered. Triton's own
health endpoints do not tell: they stay green when the process of a python model has died. A full or draining server answers as well.

With --ready: whether new videos should come here. Triton says that it is ready, the metrics say that there is room for a video and that the server
does not drain. No frame is sent, so a busy server answers as fast as an idle one."""

_EPILOG = """\
examples:
  masklet probe localhost:8001 --timeout-s 20                 liveness of a pod: restart it when this fails a few times in a row
  masklet probe localhost:8001 --ready --timeout-s 3          readiness of a pod: no new videos while this fails

The frames wait their turn behind those of live videos. Give them several times what a frame takes on a server that is full, and let the one who
calls wait 2 s longer than --timeout-s: Python has to start.

exit codes: 0 yes; 1 no, and one line says why; 2 wrong usage
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "probe",
        help="say whether a server is alive, or takes videos: for liveness and readiness probes",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="HOST:PORT", help="gRPC port of the server, usually 8001")
    parser.add_argument("--ready", action="store_true", help="ask for readiness instead of life")
    parser.add_argument("--metrics-url", metavar="URL", help="for --ready; default: http://HOST:8002/metrics")
    parser.add_argument("--timeout-s", type=positive(float), default=20.0, metavar="S", help="how long an answer may take (default: %(default)g)")
    add_connection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises ValueError and OSError for arguments that cannot be used."""
    began = time.monotonic()
    if arguments.ready:
        metrics_url = arguments.metrics_url or f"http://{arguments.url.rpartition(':')[0]}:8002/metrics"
        reason = unready(arguments.url, metrics_url, arguments.timeout_s, arguments.model, tls_of(arguments))
        print(f"not ready: {reason}" if reason else "ready")
        return 1 if reason else 0
    finding = probe(arguments.url, arguments.timeout_s, arguments.model, tls_of(arguments))
    alive = finding.health is Health.ALIVE
    print(f"alive: answered within {time.monotonic() - began:.2f} s" if alive else f"not alive: {finding.text}")
    return 0 if alive else 1
