"""Videos come and go for hours, through a gateway to two supervised servers, while faults strike: processes are killed and stopped, servers drained,
the gateway restarted, hostile requests sent. Every answer is compared with that of the same video alone.

Held must be: no wrong mask, no lost frame of a resilient video, no plain video lost where nothing happened, no memory that grows, no video left
behind.

    .venv/build/bin/python -m benchmarks.soak --minutes 60 --seed 1

Ctrl-C ends it in order, with the report so far. Exit code: 0 if everything held.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.report import facts, save
from benchmarks.soak import report
from benchmarks.soak.faults import KINDS
from benchmarks.soak.figures import Bars
from benchmarks.soak.run import Plan, run
from benchmarks.soak.schedule import schedule
from benchmarks.soak.servers import GATEWAYS, Fleet
from masklet import MaskletError
from masklet_build import nano

_FEWEST, _MOST = 4, 12  # different videos


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, metavar="M", help="(default: %(default)g)")
    parser.add_argument("--seed", type=int, help="the same seed draws the same videos and the same faults at the same times")
    parser.add_argument("--videos", type=int, default=8, metavar="N", help="at once (default: %(default)s)")
    parser.add_argument("--fps", type=float, default=1.0, help="of each (default: %(default)g)")
    parser.add_argument(
        "--faults", nargs="+", default=["all"], metavar="KIND", help=f"all, none, or some of: {', '.join(map(repr, KINDS))} (default: all)"
    )
    parser.add_argument("--pause", type=float, default=20.0, metavar="SECONDS", help="between two faults, on average (default: %(default)g)")
    parser.add_argument("--gateway", choices=sorted(GATEWAYS), default="haproxy", help="(default: %(default)s)")
    parser.add_argument("--variant", default="nano", help="(default: %(default)s)")
    parser.add_argument("--engines", type=Path, default=nano.ENGINES, metavar="DIR", help="of the variant (default: those of nano)")
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="for soak.json and soak.md, and Triton's logs where something did not hold (default: benchmarks/results)",
    )
    return parser


def chosen(words: list[str]) -> list[str]:
    """The kinds of faults that are named. Raises ValueError for one that there is not."""
    if words in (["all"], ["none"]):
        return list(KINDS) if words == ["all"] else []
    if unknown := [word for word in words if word not in KINDS]:
        raise ValueError(f"no fault {unknown[0]!r}. There are: {', '.join(KINDS)}; all, none.")
    return words


def gateway_program(name: str) -> str:
    """Where the gateway is: beside this interpreter, as `make setup` puts it, or on the PATH. Raises ValueError."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    if not found:
        raise ValueError(f"there is no {name} beside {sys.executable} nor on the PATH. `make setup` gets it; or choose another with --gateway.")
    return found


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; the second one interrupts."""
    stopping, before = threading.Event(), {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: object) -> None:
        for one in before:
            signal.signal(one, signal.default_int_handler)
        stopping.set()

    for one in before:
        signal.signal(one, handle)
    try:
        yield stopping
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def say(line: str) -> None:
    """One line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


def keep_logs(folder: Path, out: Path) -> None:
    """Triton's logs and the gateway's, which go with the folder."""
    out.mkdir(parents=True, exist_ok=True)
    for log in folder.rglob("*.log"):
        shutil.copy(log, out / f"soak_{'_'.join(log.relative_to(folder).parts)}")


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0 if everything held."""
    parser = arguments()
    args = parser.parse_args(words)
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    try:
        kinds, program = chosen(args.faults), gateway_program(args.gateway)
    except ValueError as error:
        parser.error(str(error))
    different = max(_FEWEST, min(_MOST, round(args.minutes)))  # each is played alone first, which takes some seconds
    plan = Plan(args.minutes, seed, args.videos, args.fps, scripts=different)
    planned = schedule(seed, args.minutes, kinds, args.pause)
    print(f"seed {seed}, {len(planned)} faults:", *map(str, planned), sep="\n", file=sys.stderr)
    fleet = Fleet(args.variant, args.engines, None, args.gateway, program)
    load, bars = os.getloadavg()[0], Bars()
    with tempfile.TemporaryDirectory(prefix="masklet-soak-") as folder:
        try:
            with stopped_by_signals() as stopping:
                outcome = run(plan, planned, fleet, Path(folder), stopping, say)
        except (KeyboardInterrupt, RuntimeError, OSError, MaskletError) as error:
            print(f"nothing was measured: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        settings = {"variant": args.variant, "gateway": args.gateway, "pause": args.pause}
        found = report.content(plan, planned, settings, outcome, bars, facts(load))
        if found["breaches"]:
            keep_logs(Path(folder), args.out)
    save(args.out, "soak", found, report.markdown(found))
    return 1 if found["breaches"] else 0


if __name__ == "__main__":
    sys.exit(main())
