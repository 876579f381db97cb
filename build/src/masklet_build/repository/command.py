"""The commands `masklet-build assemble` and `masklet-build combine`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from masklet import contract
from masklet_build import nano
from masklet_build.common import OutputExists, add_variant, fail, say
from masklet_build.engines.plans import RTX
from masklet_build.repository import image
from masklet_build.repository.assemble import DEVICES, IMAGE_TARGETS, PRECISIONS, RUNTIMES, TARGETS, AssembleError, assemble
from masklet_build.repository.combine import combine

EPILOG = """what goes together:
  --target     --runtime    --precision           takes                          served by
  embedded     openvino     fp32, bf16            ONNX engines                   masklet-build serve (Triton of the PyPI wheel)
  embedded     onnxruntime  fp32                  ONNX engines                   masklet-build serve
  embedded     torch        that of the programs  programs (export --for torch)  masklet-build serve
  embedded     tensorrt-rtx that of the plans     plans (engine --rtx)           masklet-build serve, on a GeForce or RTX GPU
  separate     as embedded                                                       masklet-build serve; each engine is a Triton model of its own
  onnxruntime               fp32                  ONNX engines                   NVIDIA's image (docker/server.Dockerfile)
  tensorrt                  that of the plans     plans (masklet-build engine)   NVIDIA's image, on the GPU that built the plans

examples:
  masklet-build assemble nano --out repository/
  masklet-build assemble sam2.1_t --engines engines/ --precision bf16 --out repository/
  masklet-build assemble sam2.1_t --engines plans/ --target tensorrt --out repository/
  masklet-build assemble sam2.1_t --engines plans-rtx/ --runtime tensorrt-rtx --out repository/
  masklet-build assemble nano --set memory_bank.max_videos=8 --set preprocess.max_frame_pixels=2100000 --out repository/

exit codes: 0 done, 1 it failed and the last line says why, 2 wrong arguments"""


def add_assemble_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_assemble` reads, and the help text."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_variant(parser)
    parser.add_argument(
        "--engines",
        type=Path,
        metavar="DIR",
        help="what `masklet-build export` wrote (default for nano: the package's own); for target tensorrt and runtime tensorrt-rtx what "
        "`masklet-build engine` wrote",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPO", help="where the model repository goes, whole or not at all")
    parser.add_argument("--target", choices=TARGETS, default="embedded", help="what runs the engines, see below (default: %(default)s)")
    parser.add_argument("--runtime", choices=RUNTIMES, default="openvino", help="of the targets embedded and separate (default: %(default)s)")
    parser.add_argument("--precision", choices=(*PRECISIONS, "fp16"), help="see below (default: fp32, or that of programs and plans)")
    parser.add_argument(
        "--device",
        type=_device,
        default="auto",
        help="of runtimes torch and tensorrt-rtx: cpu (torch), cuda, cuda:1 ... (default: a GPU if there is one)",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads per engine (default: all cores)")
    parser.add_argument(
        "--postprocess",
        choices=contract.POSTPROCESSING,
        default=contract.POSTPROCESSING[0],
        help="official-cuda: small holes in masks are filled, as official predictors do on a GPU and not on a CPU, whatever runs the engines here; "
        "snapshots then move only between servers that do so (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="MODEL.PARAMETER=VALUE",
        help="change a limit or another parameter of a config (repeatable)",
    )
    parser.add_argument("--force", action="store_true", help="replace REPO")


def _device(text: str) -> str:
    if text not in DEVICES and not (text.startswith("cuda:") and text[5:].isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DEVICES)}, nor one of several GPUs, as cuda:1 is")
    return text


def run_assemble(args: argparse.Namespace) -> int:
    """Assembles. Returns the exit code."""
    if args.target == "tensorrt" and not args.engines:
        args.refuse(f"--engines is required for target tensorrt: the plans that `masklet-build engine {args.variant}` built on the GPU that serves.")
    if args.target not in IMAGE_TARGETS and args.runtime == RTX and not args.engines:
        args.refuse(f"--engines is required for runtime {RTX}: the plans that `masklet-build engine {args.variant} --rtx` built.")
    engines = args.engines or nano.shipped(args, "--engines", nano.ENGINES, f"Make others: masklet-build export {args.variant} --help")
    try:
        assemble(
            args.variant,
            engines,
            args.out,
            target=args.target,
            runtime=args.runtime,
            precision=args.precision,
            device=args.device,
            threads=args.threads,
            postprocess=args.postprocess,
            settings=_settings(args.set),
            force=args.force,
        )
    except (AssembleError, OutputExists, OSError) as error:
        return fail("assemble", error)
    _say_next(args.out)
    return 0


def _settings(words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise AssembleError(f"--set {word}: write it as MODEL.PARAMETER=VALUE.")
    return dict(word.split("=", 1) for word in words)


COMBINE_EPILOG = """Each variant's public model is then tracker_VARIANT: masklet.Tracker(url, model=...), masklet track --model ...

examples:
  masklet-build combine nano/ sam2.1_t/ --out both/
  masklet-build serve both/
  masklet track clip.mp4 --url localhost:8001 --model tracker_nano --point 210,350 --out masks/"""


def add_combine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_combine` reads, and the help text."""
    parser.epilog, parser.formatter_class = COMBINE_EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("repositories", nargs="+", type=Path, metavar="REPO", help="what `masklet-build assemble` wrote, one variant each")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the repository goes, whole or not at all")
    parser.add_argument("--force", action="store_true", help="replace DIR")


def run_combine(args: argparse.Namespace) -> int:
    """Combines. Returns the exit code."""
    try:
        trackers = combine(args.repositories, args.out, force=args.force)
    except (AssembleError, OutputExists, OSError) as error:
        return fail("combine", error)
    _say_next(args.out, f" with {', '.join(trackers)}")
    return 0


def _say_next(repository: Path, what: str = "") -> None:
    """What was written, and how it is served."""
    for warning in image.warnings(repository):
        say(f"warning: {warning}")
    command = image.command(repository) if image.backend(repository) else f"masklet-build serve {repository}"
    say(f"wrote {repository}{what}. Next: {command}")
