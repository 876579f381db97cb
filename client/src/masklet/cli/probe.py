"""`masklet probe`: whether a server is alive, slow or dead, or whether it is ready."""

from __future__ import annotations

import argparse
import time

from masklet.cli.connection import add_connection, address, positive, tls_of, web
from masklet.contract import TRACKER
from masklet.errors import MaskletError
from masklet.gauges import scrape
from masklet.liveness import examine, readiness
from masklet.vitals import PATIENCE_S, UNANSWERED, Finding, Health, read

_DESCRIPTION = """\
Says whether a server is alive, slow or dead, by its metrics: whether every python model gives its sign of life, once a second, and whether what is
being computed gets on. Slow is a server with work that takes longer than five seconds; it must not be restarted. Dead is one that takes no
connections, whose metrics are silent, a stage of which gives no sign of life, or an execution of which has not got on for --patience-s and for twenty
times as long as any before. Where the counters leave doubt, as when every request of late ended with a fault of the server, a frame is sent to tell.

Triton's own health endpoints do not tell: they stay green when the process of a python model has died. Metrics have no TLS, so the settings of TLS
below matter only for a frame. All trackers of the server are asked, with --model that one."""

_EPILOG = """\
examples:
  masklet probe localhost:8001                                say how the server is
  masklet probe localhost:8001 --live                         liveness of a pod: restart it when this fails a few times in a row
  masklet probe localhost:8001 --ready --timeout-s 3          readiness of a pod: no new videos while this fails
  masklet probe gateway:443 --tls --frame                     a frame, where the metrics cannot be reached

An answer takes about a second, as long as --timeout-s only where something is silent. Let the one who calls wait 2 s longer: Python has to start.

exit codes: 0 alive, or ready; 1 dead, or not ready, and one line says why; 2 wrong usage; 3 slow (0 with --live)
"""
_CODES = {Health.ALIVE: 0, Health.SLOW: 3, Health.DEAD: 1}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "probe",
        help="say whether a server is alive, slow or dead, or ready: for liveness and readiness probes",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", type=address, metavar="HOST:PORT", help="gRPC port of the server, usually 8001")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--live", action="store_true", help="a slow server is as good as an alive one: exit code 0")
    what.add_argument("--ready", action="store_true", help="ask whether it is loaded and does not drain; a full server is ready, and says so")
    what.add_argument("--frame", action="store_true", help="send a real frame through every model, whatever the metrics say; costs what frames cost")
    parser.add_argument("--metrics-url", type=web, metavar="URL", help="default: http://HOST:8002/metrics; each server has its own")
    parser.add_argument(
        "--timeout-s",
        type=positive(float),
        default=20.0,
        metavar="S",
        help="for how long silence is borne; that of a python model for 2.5 s at least (default: %(default)g)",
    )
    parser.add_argument(
        "--patience-s",
        type=positive(float),
        default=PATIENCE_S,
        metavar="S",
        help="dead is work that has not got on for so long, and for twenty times the longest so far (default: %(default)g)",
    )
    add_connection(parser, model=None)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises ValueError and OSError for arguments that cannot be used."""
    metrics_url = arguments.metrics_url or f"http://{arguments.url.rpartition(':')[0]}:8002/metrics"
    if arguments.ready:
        ready, text = readiness(arguments.url, metrics_url, arguments.timeout_s, arguments.model)
        said = ("ready" if ready else "not ready: ") + (f", and {text}" if ready and text else text)
        print(said + _guessed(arguments, metrics_url, said))
        return 0 if ready else 1
    began = time.monotonic()
    if arguments.frame:
        finding = _frame(arguments, metrics_url, arguments.timeout_s)
    else:
        limits = arguments.timeout_s, arguments.patience_s
        finding = examine(arguments.url, metrics_url, *limits, lambda left: _frame(arguments, metrics_url, left), arguments.model)
    if arguments.frame and finding.health is Health.DOUBTFUL:
        finding = Finding(Health.SLOW if finding.text.startswith(UNANSWERED) else Health.DEAD, finding.text)
    said = f": a frame took {time.monotonic() - began:.2f} s" if arguments.frame and finding.health is Health.ALIVE else ""
    text = finding.health.value + (f": {finding.text}" if finding.text else said)
    print(text if arguments.frame else text + _guessed(arguments, metrics_url, text))
    return 0 if arguments.live and finding.health is Health.SLOW else _CODES[finding.health]


def _guessed(arguments: argparse.Namespace, metrics_url: str, text: str) -> str:
    """What to know of metrics that nobody named: they may be elsewhere, or of another server."""
    if arguments.metrics_url:
        return ""
    if metrics_url in text:
        return " Metrics at another address are named with --metrics-url; where none can be reached, ask with --frame."
    usual = arguments.url.endswith(":8001") or " takes no connection" in text
    return "" if usual else f"; so say the metrics at {metrics_url}. Those of another server: --metrics-url"


def _frame(arguments: argparse.Namespace, metrics_url: str, timeout_s: float) -> Finding:
    """What a frame says, to each tracker in turn until one is not alive."""
    from masklet.health import probe  # gRPC and numpy, which counters do not need

    deadline = time.monotonic() + timeout_s
    try:
        trackers = [arguments.model] if arguments.model else read(scrape(metrics_url, min(timeout_s, 5.0))).trackers
    except MaskletError:
        trackers = []  # behind a gateway, where there are no metrics
    for tracker in trackers or [TRACKER.name]:
        finding = probe(arguments.url, max(0.0, deadline - time.monotonic()), tracker, tls_of(arguments))
        if finding.health is not Health.ALIVE:
            break
    return finding
