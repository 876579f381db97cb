"""The command `masklet-build engine`."""

from __future__ import annotations

import argparse
from pathlib import Path

from masklet_build import nano
from masklet_build.common import OutputExists, fail, missing, say
from masklet_build.engines.plans import RTX, TENSORRT, BuildError, Plans, Settings
from masklet_build.engines.targets import DEFAULT_TARGETS, targets_of
from masklet_build.export.profiles import Limits
from masklet_build.models import variants

_MOST_GIB = 2**20  # more than a GPU has, and less than a compiler's 64 bits of bytes

EPILOG = """two compilers:
  TensorRT            on the machine that will serve, with the server's TensorRT: a plan runs on the TensorRT version and GPU model that built it,
                      and nowhere else. NVIDIA's image nvcr.io/nvidia/tensorrt:TAG-py3 has the version of tritonserver:TAG-py3
  TensorRT for RTX    --rtx: on any CPU, in seconds to minutes. A plan runs with the version that built it, on every GPU of the compute capabilities
                      that it was built for, where it is compiled further when it is loaded. GeForce and RTX cards; neither Turing nor Hopper

The precision is that of the ONNX files: masklet-build export --help.

examples:
  masklet-build engine nano --rtx --out plans/                            with the engines in the package, for RTX 30, 40 and 50
  masklet-build engine sam2.1_t --onnx engines/ --rtx --sm 89 --out plans/
  masklet-build engine sam2.1_t --onnx engines/ --out plans/ --objects 4  fewer objects per call, where a GPU is small

At the end a line per engine, in the profile with the most of each: MiB, working memory of a call beside the weights; kernels; fused attention,
how many of its attentions became one kernel each, in the profile with the fewest. Unfused ones keep all their scores in memory, and are slower.

DIR gets <engine>.plan, all that the compiler said in <engine>.log, of TensorRT the layers in <engine>.layers.json, and plans.json: what was built,
for which shapes, of what and where. Stopped half-way (Ctrl-C), the same command goes on with the engine that it stopped at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `masklet-build engine`, behind VARIANT."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    defaults = Settings()
    parser.add_argument("--onnx", type=Path, metavar="DIR", help="what `masklet-build export` wrote (default: for nano, what is in the package)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the plans go, whole or not at all")
    parser.add_argument("--rtx", action="store_true", help="build with TensorRT for RTX")
    parser.add_argument(
        "--sm",
        action="append",
        metavar="N,N",
        help="with --rtx: compute capabilities of the GPUs, without the point (default: 86,89,120: RTX 30, 40, 50)",
    )
    parser.add_argument(
        "--videos", type=int, metavar="N", help="frames, of different videos, that are encoded together at most (default: the variant's)"
    )
    parser.add_argument("--objects", type=int, metavar="N", help="objects in one call of the other engines at most (default: the variant's)")
    parser.add_argument(
        "--workspace-gib", type=float, default=defaults.workspace_gib, metavar="G", help="scratch memory of a layer at most (default: %(default)g)"
    )
    parser.add_argument(
        "--level",
        type=int,
        choices=range(6),
        help=f"how hard TensorRT searches; 5 takes several times as long (default: {defaults.level}). TensorRT for RTX does not search",
    )
    parser.add_argument("--tf32", action="store_true", help="let float32 matrix products round their factors to 10 bits; faster, not the reference")
    parser.add_argument("--timing-cache", type=Path, metavar="DIR", help="keep what TensorRT measures, for the next build on this GPU")
    parser.add_argument("--force", action="store_true", help="replace DIR; what fits in it is kept")


def run_engine(args: argparse.Namespace) -> int:
    """Builds plans. Returns the exit code."""
    variant = variants.variant(args.variant)
    _check_options(args)
    try:
        limits = Limits.of(variant, videos=args.videos, objects=args.objects)
        targets = targets_of(",".join(args.sm)) if args.sm is not None else DEFAULT_TARGETS
    except ValueError as error:
        args.refuse(str(error))
    onnx = args.onnx or nano.shipped(args, "--onnx", nano.ENGINES, f"Make others: masklet-build export {args.variant} --for tensorrt")
    if absent := missing("engine", "tqdm"):
        return fail("engine", absent)
    from masklet_build.engines.compilers import compiler_of
    from masklet_build.engines.device import DeviceError
    from masklet_build.engines.folder import build_plans

    settings = Settings(Settings.level if args.level is None else args.level, args.workspace_gib, args.tf32)
    try:
        compiler = compiler_of(RTX if args.rtx else TENSORRT, targets)
        machine = compiler.machine()
        where = f"on {machine.gpu}, driver for CUDA {machine.driver}" if machine.gpu else "on this CPU"
        say(f"{machine.title} {where}, for compute capability {', '.join(machine.targets)}")
        plans = build_plans(
            variant, onnx, args.out, compiler, limits=limits, settings=settings, timing_folder=args.timing_cache, force=args.force, progress=say
        )
    except (BuildError, DeviceError, OutputExists, OSError) as error:
        return fail("engine", error)
    except KeyboardInterrupt:
        return fail("engine", "stopped. The same command goes on with the engine that it stopped at.")
    say(_table(plans))
    target = "--runtime tensorrt-rtx" if args.rtx else "--target tensorrt"
    say(f"{args.out} is complete. Next, on the GPU that will serve: masklet-build selftest {args.out}")
    say(f"then: masklet-build assemble {args.variant} --engines {args.out} {target} --out REPO")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuses what means nothing, at all or for the compiler that is asked for."""
    if not 0 < args.workspace_gib < _MOST_GIB:  # neither is NaN
        args.refuse(f"--workspace-gib {args.workspace_gib:g}: give GiB of the GPU's memory, such as 8 or 0.5.")
    if args.sm is not None and not args.rtx:
        args.refuse("--sm needs --rtx: TensorRT itself builds for the GPU that it is on.")
    if args.rtx and args.timing_cache:
        args.refuse("--timing-cache means nothing with --rtx: TensorRT for RTX measures no kernels here. Leave it out.")
    if args.rtx and args.level is not None:
        args.refuse("--level means nothing with --rtx: TensorRT for RTX chooses kernels where an engine is loaded. Leave it out.")


def _table(plans: Plans) -> str:
    """A line per engine: profiles, seconds, activation memory, kernels, attention that is fused (each in the profile with the most, or the least
    attention), warnings; below it each profile that has attention which could be fused and is not."""
    lines = [f"{'engine':18}{'profiles':>9}{'seconds':>9}{'MiB':>7}{'kernels':>9}{'fused attention':>17}{'warnings':>10}"]
    for name, plan in plans.engines.items():
        memory = str(max(plan.memory) >> 20) if plan.memory else "?"
        total = str(max(one.total for one in plan.kernels)) if plan.kernels else "?"
        counts = f"{len(plan.profiles):>9}{plan.build_seconds:>9.0f}{memory:>7}{total:>9}{plan.fused:>17}{len(plan.warnings):>10}"
        lines.append(f"{name:18}{counts}")
    for name, plan in plans.engines.items():
        lines += [f"{name}: {text}" for text in plan.unfused] if plans.attention != "fp32" else []
        lines += [] if plan.kernels else [f"{name}: {plan.warnings[-1]}"]
    if plans.attention == "fp32" and any(plan.softmax_nodes for plan in plans.engines.values()):
        lines.append(
            "Attention in fp32 is hardly ever fused; where it is not, all scores are kept in memory. Export in a reduced precision: "
            "masklet-build export --help"
        )
    return "\n".join(lines)
