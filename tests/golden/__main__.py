"""`make golden`: replays the scenarios of a golden folder through a real server, over gRPC, and prints how far the answers are apart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from masklet_build.checkpoints.loading import CheckpointError
from masklet_build.common import add_variant, say
from masklet_build.repository.assemble import PRECISIONS, RUNTIMES
from masklet_build.serve import ServeError
from tests.golden.scenarios import GoldenError
from tests.golden.verify import table, verify

EPILOG = """example:
  make golden VARIANT=efficienttam_ti_512 GOLDEN=tests/data/ti_512_synthetic

exit codes: 0 every scenario is within the bars, 1 one is not, or it failed and the last line says why, 2 wrong arguments"""


def main() -> int:
    """Runs the command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make golden", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_variant(parser)
    parser.add_argument("--golden", type=Path, required=True, metavar="FOLDER", help="folder with recipe.json, expected_<scenario>.npz, frames/ ...")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="(default: all of them; repeatable)")
    parser.add_argument("--runtime", choices=RUNTIMES, default="openvino", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="the bars are those of fp32 (default: %(default)s)")
    parser.add_argument("--python", metavar="FILE", help="interpreter of the serving environment")
    args = parser.parse_args()
    try:
        reports = verify(args.variant, args.golden, args.scenario, runtime=args.runtime, precision=args.precision, python=args.python, progress=say)
    except (CheckpointError, GoldenError, ServeError, OSError) as error:
        print(f"make golden: {error}", file=sys.stderr)
        return 1
    print(table(reports))
    return 0 if all(report.comparison.within for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
