"""Sends hostile requests of every kind to a server of its own, beside four honest videos, and says what did not hold.

Held must be: no process dies, honest videos get the bits that they get alone, refused requests change nothing, memory stays bounded, every request is
answered. Bounded in count and time, and only for addresses of this machine.

    .venv/serving/bin/python -m benchmarks.fuzz --requests 2000
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.fuzz import report
from benchmarks.fuzz.registry import chosen
from benchmarks.fuzz.run import IDLE_S, Plan, Run
from benchmarks.report import facts, save
from benchmarks.supervised import Supervised

SETTINGS = {"memory_bank.idle_seconds": str(IDLE_S), "memory_bank.max_videos": "256"}  # places enough, so that honest videos find theirs


def local(url: str) -> str:
    """An address of this machine. Raises ArgumentTypeError for any other: what is sent here is an attack."""
    host, _, port = url.rpartition(":")
    try:
        here = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        here = False
    if not here or not port.isdigit():
        raise argparse.ArgumentTypeError(
            f"{url!r} is no address of this machine (127.0.0.1:PORT, [::1]:PORT or localhost:PORT). What is sent would be an attack on somebody "
            "else's server; run this program beside your own."
        )
    return url


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="at most so many, after the warm-up (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, metavar="N", help="requests before memory is first looked at (default: a tenth, at least 1000)")
    parser.add_argument("--minutes", type=float, default=40, metavar="M", help="at most so long (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="attackers at once (default: %(default)s)")
    parser.add_argument("--fps", type=float, default=2.0, help="of each honest video (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="the same seed sends the same requests per attacker, but for contents that the server gave")
    parser.add_argument("--kinds", nargs="*", default=[], metavar="NAME", help="families or kinds to send (default: all; --list names them)")
    parser.add_argument("--list", action="store_true", help="name the kinds and end")
    parser.add_argument("--url", type=local, metavar="HOST:PORT", help="a server that runs already, on this machine: its processes are not looked at")
    parser.add_argument("--hazards", action="store_true", help="send too what Triton itself has no defence against (see benchmarks/README.md)")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="for fuzz.json and fuzz.md, and Triton's log where something did not hold (default: benchmarks/results)",
    )
    return parser


@contextmanager
def served(url: str | None, python: Path | None = None) -> Iterator[tuple[Supervised | None, str]]:
    """A server of our own, unless there is one."""
    with ExitStack() as stack:
        if url:
            yield None, url
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="masklet-fuzz-"))
        server = stack.enter_context(Supervised(Path(folder), python, SETTINGS))
        yield server, ""


def main(words: list[str] | None = None, python: Path | None = None) -> int:
    """Returns the exit code: 0 if every invariant held."""
    parser = arguments()
    args = parser.parse_args(words)
    try:
        kinds = chosen(args.kinds)
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        print("\n".join(f"{kind.name:45} {kind.form}" for kind in kinds))
        return 0
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    warm_up = max(1000, args.requests // 10) if args.warm_up is None else args.warm_up
    plan = Plan(args.requests, warm_up, args.minutes, args.workers, args.fps, seed)
    print(f"seed {seed}", file=sys.stderr)
    load = os.getloadavg()[0]
    with served(args.url, python) as (server, url):
        outcome = Run(plan, kinds, server, url, args.hazards).run()
        if server and outcome.faults(plan):
            args.out.mkdir(parents=True, exist_ok=True)
            shutil.copy(server.log, args.out / "fuzz_triton.log")  # the folder of the server goes with it
    found = report.content(plan, outcome, facts(load))
    save(args.out, "fuzz", found, report.markdown(found))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
