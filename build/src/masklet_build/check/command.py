"""The command `masklet-build selftest`."""

from __future__ import annotations

import argparse
from pathlib import Path

from masklet_build.common import OutputExists, fail, missing, say
from masklet_build.export.precision.choice import PRECISIONS

_ADVICE = {
    "torch": "It exports nano, and rounds ONNX engines of reduced types: pip install 'masklet-build[export]'. Or name plans that were built before.",
    "tqdm": "It shows how far a build is: pip install 'masklet-build[engine]'.",
    "onnxruntime": "It runs ONNX engines: pip install 'masklet-build[export]'.",
}

DESCRIPTION = """Tests engines on this machine: the first command on a GPU, and again after every change of driver, TensorRT or GPU.

A fused attention kernel that computes wrong numbers raises no error. So every engine is asked what the float32 network was asked, in every profile
that it was built for, with batches of several objects; a clip is tracked through the server's own models in this process; and the masks, the
presence of objects and J&F are compared with those of float32."""

EPILOG = """examples:
  masklet-build selftest                      nano, which is in the package: exported, built and tested here; minutes, most of them TensorRT's
  masklet-build selftest --precision bf16     the same in another precision
  masklet-build selftest plans/               what `masklet-build engine` built, for any variant; seconds
  masklet-build selftest repository/          the engines of a repository
  masklet-build selftest engines/             what `masklet-build export` wrote, in ONNX Runtime on this CPU: needs no GPU, fuses no attention

What float32 answered is in the package for nano; for other weights `masklet-build export` writes it beside the engines (fixtures.npz), and
`masklet-build engine` copies it. selftest.json is written beside the engines; `masklet-build serve` warns where it is missing.

exit codes: 0 the engines are right, 1 they are not (the report says what to build instead) or the test could not run, 2 wrong arguments"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_selftest` reads, and the help text."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help="folder of plans or ONNX engines, or repository (default: nano is built)")
    built = parser.add_argument_group("without PATH")
    built.add_argument("--precision", choices=PRECISIONS, default="fp16", help="of the nano that is built (default: %(default)s)")
    built.add_argument("--attention", choices=PRECISIONS, help="of its attention (default: as `masklet-build export` chooses)")
    built.add_argument("--work", type=Path, default=Path("nano-selftest"), metavar="DIR", help="keeps what is built (default: %(default)s)")
    parser.add_argument("--fixtures", type=Path, metavar="FILE", help="what float32 answered (default: fixtures.npz beside the engines)")


def run_selftest(args: argparse.Namespace) -> int:
    """Tests, prints the report and writes it. Returns the exit code."""
    if absent := missing("quality", "PIL"):
        return fail("selftest", absent)
    from masklet_build.check import report
    from masklet_build.check.own import own_plans
    from masklet_build.check.subject import SubjectError, opened
    from masklet_build.engines.device import DeviceError
    from masklet_build.engines.plans import BuildError, PlansError
    from masklet_build.export.fixtures.fixtures import FixturesError

    try:
        path = args.path or own_plans(args.work, args.precision, args.attention, say)
        with opened(path) as subject:
            made = report.examine(subject, args.fixtures, say)
    except ModuleNotFoundError as error:
        return fail("selftest", f"package {error.name} is not installed here. {_ADVICE.get(str(error.name), '')}")
    except (BuildError, DeviceError, FixturesError, OutputExists, PlansError, SubjectError, ImportError, OSError) as error:
        return fail("selftest", error)
    say(f"\n{report.text(made)}\n")
    try:
        say(f"written: {report.write(made)}")
    except OSError as error:  # a read-only repository
        say(f"not written: {error}")
    return 1 if made.problems else 0
