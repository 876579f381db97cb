"""`masklet replay`: a recording sent again, and what differs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from masklet.cli.connection import add_connection, address, header, positive, tls_of
from masklet.cli.failure import need
from masklet.cli.told import counted

_EPILOG = """\
A recording is what `masklet track --record FOLDER` or Tracker(record=FOLDER) wrote. The video is sent again as it was, frame by frame and byte for
byte, under another id, and every mask is compared with the recorded one. On the same server the masks are the same to the last bit; where engines,
precision or version are others, this says how far apart they are.

examples:
  masklet replay complaint/ --url localhost:8001                      is it still so?
  masklet replay complaint/ --url new-server:8001 --html differs.html before an upgrade, with pictures of the worst

exit codes: 0 all masks are equal, 1 some are not, none was compared, or it failed; 2 wrong usage; 130 stopped with Ctrl-C
"""

_INTERRUPTED = 130


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "replay",
        help="send a recording again, and compare mask by mask",
        description="Sends a recording again, to the same server or another, and compares mask by mask.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a recording, or a folder of several")
    parser.add_argument("--url", required=True, type=address, metavar="HOST:PORT", help="gRPC port of the server, usually 8001")
    parser.add_argument("--at-recorded-times", action="store_true", help="send each request when it was sent; by default as fast as it goes")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures of the masks that differ most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all differences")
    parser.add_argument("--timeout-s", type=positive(float), default=30.0, metavar="S", help="how long an answer may take; default 30")
    add_connection(parser)
    parser.add_argument("--proxy", metavar="URL", help="http://HOST:PORT of an HTTP proxy to go through")
    parser.add_argument("--header", action="append", default=[], type=header, metavar="NAME=VALUE", help="header to send, for gateways")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; gives its exit code. Raises MaskletError, OSError."""
    from masklet import recording
    from masklet.recording.page import page
    from masklet.recording.replay import Comparison

    done: list[tuple[Any, Comparison]] = []
    try:
        for folder in recording.folders(arguments.folder):
            read = recording.read(folder)
            compared = _replayed(arguments, read)
            done.append((read, compared))
            print(f"{folder}: {compared}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return _INTERRUPTED
    if arguments.json:
        told = [{"recording": str(read.folder), **asdict(compared)} for read, compared in done]
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if arguments.html:
        arguments.html.write_text(page(done), encoding="utf-8")
        print(f"written: {arguments.html}")
    return 0 if any(compared.answers for _, compared in done) and not any(compared.differences for _, compared in done) else 1


def _replayed(arguments: argparse.Namespace, read: Any) -> Any:
    from masklet.recording.replay import differing, replay
    from masklet.tracker import Tracker
    from masklet.transport.grpc_transport import GrpcTransport

    wanted = {"tls": tls_of(arguments), "model": arguments.model, "proxy": arguments.proxy}
    headers = dict(arguments.header)
    with Tracker(arguments.url, headers=headers, timeout_s=arguments.timeout_s, **wanted) as tracker:
        server = asdict(tracker.info())
    if others := differing(read.identity, server):
        print(f"{read.folder} was recorded with another server: {', '.join(others)}", file=sys.stderr)
    if read.broken:
        print(f"{read.folder} ends where its stream broke: {read.broken.strip()}", file=sys.stderr)
    transport = GrpcTransport(arguments.url, **wanted)
    with need("tqdm").tqdm(total=len(read.exchanges), unit=" requests", file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
        compared = replay(
            read, transport, headers=headers, timeout_s=arguments.timeout_s, at_recorded_times=arguments.at_recorded_times, tell=bar.update
        )
    if not compared.answers:
        print(f"{read.folder} holds no answer to compare: {counted(len(read.exchanges), 'request')}", file=sys.stderr)
    return compared
