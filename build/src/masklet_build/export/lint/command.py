"""The command `masklet-build lint`."""

from __future__ import annotations

import argparse
from pathlib import Path

from masklet_build.common import fail, missing

DESCRIPTION = """Looks in exported engines for what would make them slow or wrong in TensorRT: without TensorRT and without a GPU.

Of every graph: no branches, loops, data-dependent shapes or inputs that decide shapes, types that agree (a strongly typed network converts nothing by
itself), names, types and dimensions of masklet.contract. Of graphs made for TensorRT (export --for tensorrt, or in fp16 or bf16) also: attention in
the form that fuses, norms as one node in float32. Operators that TensorRT does not take it names itself: masklet-build engine.

Each finding says where, what, why, and what to do. `export` for TensorRT does the same by itself."""

EPILOG = """example:
  masklet-build export efficienttam_ti_512 --checkpoint efficienttam_ti_512x512.pt --precision fp16 --out engines-fp16/
  masklet-build lint engines-fp16/

exit codes: 0 nothing found, 1 findings, or the folder cannot be read, 2 wrong arguments"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_lint` reads, and the help text."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("engines", type=Path, metavar="DIR", help="what `masklet-build export` wrote")


def run_lint(args: argparse.Namespace) -> int:
    """Prints a line per engine and per finding. Returns the exit code."""
    if absent := missing("export", "onnx"):
        return fail("lint", absent)
    from masklet_build.export.lint.check import lint_folder
    from masklet_build.export.lint.graph import LintError

    found = False
    try:
        for engine, findings in lint_folder(args.engines):
            print(f"{engine}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}", flush=True)
            for finding in findings:
                print(f"  {finding}", flush=True)
            found = found or bool(findings)
    except LintError as error:
        return fail("lint", error)
    return 1 if found else 0
