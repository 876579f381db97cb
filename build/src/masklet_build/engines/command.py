"""The command `masklet-build engine`."""

from __future__ import annotations

import argparse
from pathlib import Path

from masklet_build.common import OutputExists, fail, missing, say
from masklet_build.engines.plans import DEFAULT_TARGETS, RTX, TENSORRT, BuildError, Plans, Settings
from masklet_build.export.profiles import Limits
from masklet_build.models import variants

EPILOG = """Run it on the machine that will serve, with the server's TensorRT: a plan runs on the TensorRT version and GPU model that built it, and
nowhere else. NVIDIA's image nvcr.io/nvidia/tensorrt:TAG-py3 has the version of tritonserver:TAG-py3.

The precision is that of the ONNX files: masklet-build export --help. Build for fewer objects per call where a GPU is small:

  masklet-build engine sam2.1_t --onnx engines/ --out plans/ --objects 4

DIR gets <engine>.plan, all that TensorRT said in <engine>.log, its layers in <engine>.layers.json, and plans.json: what was built, for which
shapes, of what and where. Stopped half-way (Ctrl-C), the same command goes on with the next engine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `masklet-build engine`, behind VARIANT."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    defaults = Settings()
    parser.add_argument("--rtx", action="store_true", help="build with TensorRT for RTX")
    parser.add_argument("--onnx", type=Path, required=True, metavar="DIR", help="what `masklet-build export` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the plans go, whole or not at all")
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
        default=defaults.level,
        help="how hard TensorRT searches; 5 takes several times as long (default: %(default)s)",
    )
    parser.add_argument("--tf32", action="store_true", help="let float32 matrix products round their factors to 10 bits; faster, not the reference")
    parser.add_argument("--timing-cache", type=Path, metavar="DIR", help="keep what TensorRT measures, for the next build on this GPU")
    parser.add_argument("--force", action="store_true", help="replace DIR; what fits in it is kept")


def run_engine(args: argparse.Namespace) -> int:
    """Builds plans. Returns the exit code."""
    variant = variants.variant(args.variant)
    targets = DEFAULT_TARGETS
    try:
        limits = Limits.of(variant, videos=args.videos, objects=args.objects)
    except ValueError as error:
        args.refuse(str(error))
    if absent := missing("engine", "tqdm"):
        return fail("engine", absent)
    from masklet_build.engines.compilers import compiler_of
    from masklet_build.engines.device import DeviceError
    from masklet_build.engines.folder import build_plans

    try:
        compiler = compiler_of(RTX, targets) if args.rtx else compiler_of(TENSORRT)
        machine = compiler.machine()
        where = f"on {machine.gpu}, driver for CUDA {machine.driver}" if machine.gpu else "on this CPU"
        say(f"{machine.title} {where}, for compute capability {', '.join(machine.targets)}")
        settings = Settings(args.level, args.workspace_gib, args.tf32)
        plans = build_plans(
            variant, args.onnx, args.out, compiler, limits=limits, settings=settings, timing_folder=args.timing_cache, force=args.force, progress=say
        )
    except (BuildError, DeviceError, OutputExists, OSError) as error:
        return fail("engine", error)
    except KeyboardInterrupt:
        return fail("engine", "stopped. The same command goes on with the engine that it stopped at.")
    say(_table(plans))
    target = "--runtime tensorrt-rtx" if args.rtx else "--target tensorrt"
    say(f"wrote {args.out}. Next: masklet-build assemble {args.variant} --engines {args.out} {target} --out REPO")
    return 0


def _table(plans: Plans) -> str:
    """A line per engine: profiles, seconds, activation memory, kernels, attention that is fused in the profile with the least of it, warnings."""
    lines = [f"{'engine':18}{'profiles':>9}{'seconds':>9}{'MiB':>7}{'kernels':>9}{'fused attention':>17}{'warnings':>10}"]
    for name, plan in plans.engines.items():
        memory = str(max(plan.memory) >> 20) if plan.memory else "?"
        kernels = str(max(one.total for one in plan.kernels)) if plan.kernels else "?"
        counts = f"{len(plan.profiles):>9}{plan.build_seconds:>9.0f}{memory:>7}{kernels:>9}{plan.fused:>17}{len(plan.warnings):>10}"
        lines.append(f"{name:18}{counts}")
    return "\n".join(lines)
