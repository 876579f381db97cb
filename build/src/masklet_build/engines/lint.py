"""The command `masklet-build lint`: here and not in export/, since it can ask a compiler."""

from __future__ import annotations

import argparse
from pathlib import Path

from masklet_build.common import fail, missing, say
from masklet_build.engines.plans import RTX, BuildError
from masklet_build.export.profiles import Limits
from masklet_build.manifest import Manifest
from masklet_build.models import variants

DESCRIPTION = """Looks in exported engines for what would make them slow or wrong in TensorRT: without TensorRT and without a GPU.

Of every graph: no branches, loops, data-dependent shapes or inputs that decide shapes, types that agree (a strongly typed network converts nothing by
itself), names, types and dimensions of masklet.contract. Of graphs made for TensorRT (export --for tensorrt, or in fp16 or bf16) also: attention in
the form that fuses, norms as one node in float32, and what a compiler was seen to refuse: transposed convolutions in bf16, uint8 between nodes, more
than eight axes. Each finding says where, what, why, and what to do. `export` for TensorRT does the same by itself.

--compile then builds every engine with TensorRT for RTX, a compiler of NVIDIA's that needs no GPU (pip install 'masklet-build[rtx]'), for the shapes
that a server asks. It tells what is refused and why and, of each optimisation profile, whether all attention became fused kernels and how much memory
a call takes beside the weights. It is not TensorRT: either may refuse what the other takes. Seconds to minutes per engine; Ctrl-C stops it. What it
builds is thrown away; to keep it: masklet-build engine --help."""

EPILOG = """example:
  masklet-build export efficienttam_ti_512 --checkpoint efficienttam_ti_512x512.pt --precision bf16 --out engines-bf16/
  masklet-build lint engines-bf16/ --compile

exit codes: 0 nothing found, 2 wrong arguments, 1 the folder cannot be read, findings, engines that the compiler refuses, or attention in fp16 or bf16
that it does not fuse (in fp32 it hardly ever does)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_lint` reads, and the help text."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("engines", type=Path, metavar="DIR", help="what `masklet-build export` wrote")
    parser.add_argument("--compile", action="store_true", help="also build every engine with TensorRT for RTX, which needs no GPU")
    parser.add_argument("--videos", type=int, metavar="N", help="with --compile: frames in a call of image_encoder at most (default: the variant's)")
    parser.add_argument("--objects", type=int, metavar="N", help="with --compile: objects in a call of the others at most (default: the variant's)")


def run_lint(args: argparse.Namespace) -> int:
    """Prints a line per engine and per finding; with --compile a table. Returns the exit code."""
    if not args.compile and (args.videos, args.objects) != (None, None):
        args.refuse("--videos and --objects are for --compile: without it nothing is built")
    if absent := missing("export", "onnx") or (args.compile and missing("rtx", "tensorrt_rtx_bindings", "tqdm")):
        return fail("lint", absent)
    from masklet_build.export.lint.graph import LintError

    try:
        found = _lint(args.engines)
        compiled = not args.compile or _compile(args)
    except (LintError, BuildError, OSError) as error:
        return fail("lint", error)
    except KeyboardInterrupt:
        return fail("lint", "stopped. Nothing was kept.")
    return 1 if found or not compiled else 0


def _lint(folder: Path) -> bool:
    """Whether something was found."""
    from masklet_build.export.lint.check import lint_folder

    found = False
    for engine, findings in lint_folder(folder):
        say(f"{engine}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}")
        for finding in findings:
            say(f"  {finding}")
        found = found or bool(findings)
    return found


def _compile(args: argparse.Namespace) -> bool:
    """Whether the compiler takes all of a folder that was linted, and fuses what can be."""
    from masklet_build.engines.compilers import compiler_of
    from masklet_build.engines.trial import told, trials

    manifest = Manifest.found(args.engines)
    variant = variants.variant(manifest.variant)
    try:
        limits = Limits.of(variant, videos=args.videos, objects=args.objects)
    except ValueError as error:
        args.refuse(str(error))
    compiler = compiler_of(RTX)
    machine = compiler.machine()
    say(f"\ncompiling with {machine.title} on this CPU, for compute capability {', '.join(machine.targets)}, as TensorRT's profiles ask")
    if manifest.purpose == "cpu":
        say(f"  the graphs have the form for CPUs, which fuses less. For TensorRT: masklet-build export {manifest.variant} --for tensorrt ...")
    done = list(trials(args.engines, variant, limits, compiler))
    for line in told(done):
        say(line)
    say(f"So says {machine.title}, which is not TensorRT: either may refuse what the other takes. The plans were thrown away.")
    return not any(trial.problems for trial in done)
