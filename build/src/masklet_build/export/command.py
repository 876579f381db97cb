"""The command `masklet-build export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from masklet.errors import MaskletError
from masklet_build import nano
from masklet_build.common import OutputExists, fail, missing, say
from masklet_build.export.precision import choice
from masklet_build.export.precision.frames import FilmError, folder_film
from masklet_build.models import variants

EPILOG = """examples:
  masklet-build export sam2.1_t --checkpoint sam2.1_hiera_tiny.pt --out engines/                            for CPUs
  masklet-build export sam2.1_t --checkpoint sam2.1_hiera_tiny.pt --out engines-bf16/ --precision bf16      for TensorRT
  masklet-build export sam2.1_t --checkpoint sam2.1_hiera_tiny.pt --out engines-trt/ --for tensorrt         for TensorRT in fp32, to compare with
  masklet-build export sam2.1_t --checkpoint sam2.1_hiera_tiny.pt --out programs/ --for torch --precision bf16   for PyTorch on a GPU

Every engine is checked against PyTorch in fp32 before anything is written. What keeps fp32, and why, is in manifest.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `run_export` reads besides the variant, and the help text."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint of this variant: the official file (.pt), that of a training program, or one in the layout of Hugging Face transformers: "
        "model.safetensors, its index (model.safetensors.index.json) or their folder (default for nano: the package's own)",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="which weights of a checkpoint that holds several, such as ema or state_dict/ema_model; the command says which there are and which it "
        "takes (default: model, else the first that are no average)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where engines and manifest.json go, whole or not at all")
    parser.add_argument(
        "--half-storage", action="store_true", help="store weights that float16 holds exactly as float16: smaller files, the same results"
    )
    parser.add_argument("--force", action="store_true", help="replace DIR")
    _add_types(parser.add_argument_group("for GPUs (docker/tensorrt.md)"))


def _add_types(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--precision",
        choices=choice.PRECISIONS,
        default="fp32",
        help="of projections and convolutions, written into the graphs; norms, position codes and residual sums keep fp32 (default: %(default)s)",
    )
    group.add_argument(
        "--attention",
        choices=choice.PRECISIONS,
        help=f"of attention (default: fp32 with --precision fp32; else fp16 for variants of up to {choice.FP16_KEYS:,} keys, and bf16 above)",
    )
    group.add_argument(
        "--for",
        dest="purpose",
        choices=choice.PURPOSES,
        help="whom the forms of the graphs suit; TensorRT recognises norms and attention in forms that are slower on a CPU; torch: PyTorch programs "
        "(default: cpu; tensorrt in a reduced precision)",
    )
    group.add_argument(
        "--frames",
        type=Path,
        metavar="FOLDER",
        help="images of a video, for the range scan: before something becomes fp16, the fp32 network works on them; what could overflow keeps fp32 "
        "(default: a drawn clip)",
    )
    group.add_argument(
        "--no-fixtures",
        action="store_true",
        help="leave out fixtures.npz, without which `masklet-build selftest` cannot test the engines: 30 MB for images of 1024 pixels, and the "
        "time of some twenty frames on this CPU",
    )


def run_export(args: argparse.Namespace) -> int:
    """Exports. Returns the exit code."""
    checkpoint = args.checkpoint or nano.shipped(args, "--checkpoint", nano.CHECKPOINT, f"Fetch others: masklet-build download {args.variant}")
    variant = variants.variant(args.variant)
    try:
        wanted = choice.Choice.of(variant, args.precision, args.attention, args.purpose)
    except ValueError as error:
        args.refuse(str(error))
    if wanted.purpose == "torch" and args.half_storage:
        args.refuse("--half-storage is for ONNX engines; programs for PyTorch keep their weights as they compute with them.")
    draws = wanted.scanned or wanted.purpose == "tensorrt"  # frames of a clip
    if absent := missing("export", "torch") or (missing("quality", "PIL") if draws else None):
        return fail("export", absent)
    from masklet_build.checkpoints.torch_files import CheckpointError
    from masklet_build.export.onnx_export import ExportError, export
    from masklet_build.export.programs import export_programs

    try:
        film = folder_film(args.frames) if args.frames else None
        common = {"choice": wanted, "film": film, "force": args.force, "weights": args.weights, "progress": say}
        if wanted.purpose == "torch":
            export_programs(variant, checkpoint, args.out, **common)
        else:
            fixtures = wanted.purpose == "tensorrt" and not args.no_fixtures
            export(variant, checkpoint, args.out, half_storage=args.half_storage, fixtures=fixtures, **common)
    except (CheckpointError, ExportError, FilmError, MaskletError, OutputExists, OSError) as error:
        return fail("export", error)
    further = {
        "cpu": f"assemble {args.variant} --engines {args.out} --out REPO",
        "torch": f"assemble {args.variant} --engines {args.out} --runtime torch --out REPO",
        "tensorrt": f"engine {args.variant} --onnx {args.out} --out PLANS, on the GPU that will serve; for RTX cards with --rtx, on any CPU",
    }
    say(f"wrote {args.out}. Next: masklet-build {further[wanted.purpose]}")
    return 0
