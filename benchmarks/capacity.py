"""How many live videos does a server on this machine carry? Starts Triton on nano and loads it with cameras: first to its limit, then below.

Server and generator share the CPUs, so the figures are of this machine as a whole. Options that are not listed here go to locust; the
ones for cameras are in `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import RESULTS, ROOT
from benchmarks.load import results
from masklet import families
from masklet_build import nano
from masklet_build.quality import provenance
from masklet_build.repository.assemble import PRECISIONS, AssembleError, assemble
from masklet_build.serve import ServeError, Server


def main() -> int:
    """Runs the load test. Returns locust's exit code: 0 passed, 1 failed, 3 void."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the server (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for load.json and load.md (default: benchmarks/results)")
    parser.add_argument("--pages", type=Path, default=Path("dist/load"), metavar="DIR", help="for locust's HTML and CSV (default: %(default)s)")
    args, for_locust = parser.parse_known_args()
    try:
        with tempfile.TemporaryDirectory(prefix="masklet-load-") as folder:
            repository = assemble(families.NANO.name, nano.ENGINES, Path(folder) / "repository", precision=args.precision)
            with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
                code = generate(server.grpc_url, args.out, args.pages, for_locust)
    except (AssembleError, ServeError) as error:
        print(f"capacity: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    add_facts(args.out, args.precision)
    return code


def generate(url: str, out: Path, pages: Path, options: list[str]) -> int:
    """Runs locust in a process of its own: a generator that shared an interpreter with the server's owner would be late. Returns its exit code."""
    out, pages = out.absolute(), pages.absolute()
    words = ["--headless", "--only-summary", "--host", url, "--results", str(out), "--html", str(pages / "load.html"), "--csv", str(pages / "load")]
    return subprocess.run([sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", *words, *options], cwd=ROOT).returncode


def add_facts(out: Path, precision: str) -> None:
    """Says in the results what was served."""
    made = json.loads((out / "load.json").read_text(encoding="utf-8"))
    made["facts"]["server"] = {"variant": families.NANO.name, "precision": precision, "cpus": os.cpu_count(), **provenance.server_versions()}
    results.write(out, made)
    print(results.markdown(made))


if __name__ == "__main__":
    sys.exit(main())
