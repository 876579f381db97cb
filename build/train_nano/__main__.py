"""The training of nano as a program: `PYTHONPATH=build python -m train_nano`, from the root of the repository."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from masklet_build import nano
from masklet_build.checkpoints.torch_files import CheckpointError
from masklet_build.embedded.cores import usable_cores
from train_nano.loop import Setting
from train_nano.recipe import Recipe, RecipeError
from train_nano.start import train

EPILOG = """The recipe decides everything that is learned: sizes, steps, rates, seed. The default one made the shipped model, nearly:
see masklet_build/nano/README.md.
Stop at any time; --resume goes on from the last saved state (at most five minutes are lost).

  PYTHONPATH=build python -m train_nano --out training/
  PYTHONPATH=build python -m train_nano --out training/ --resume
  masklet-build export nano --checkpoint training/checkpoint.safetensors --out engines/
  masklet-build evaluate nano --engines engines/ --out quality/"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train_nano",
        description="Trains masklet's own small model on drawn clips.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="metrics.jsonl, curves.png, the state to resume from, the checkpoint")
    parser.add_argument("--recipe", type=Path, default=nano.RECIPE, metavar="FILE", help="(default: the one in masklet_build/nano)")
    parser.add_argument("--begin-with", type=Path, metavar="FILE", help="checkpoint to begin with (default: random weights)")
    parser.add_argument("--resume", action="store_true", help="go on with the training in DIR; phases of the recipe that lie ahead may have changed")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda where there is a GPU)")
    parser.add_argument("--processes", type=int, metavar="N", help="that share the work (default: on a CPU as many as can share the clips evenly)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the training. Returns the exit code."""
    args = _parser().parse_args(arguments)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cores = usable_cores()
    workers = 1 if device == "cpu" else max(1, cores - 1)
    try:
        recipe = Recipe.read(args.recipe)
        processes = args.processes or recipe.most_processes(cores if device == "cpu" else 1)
        train(recipe, Setting(args.out, device, processes, args.begin_with, workers), resume=args.resume, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("\nstopped. Go on with the same command and --resume", file=sys.stderr)
        return 130
    except (RecipeError, CheckpointError, OSError, ValueError) as error:
        print(f"train_nano: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.out}. Next: masklet-build export {recipe.variant} --checkpoint {args.out / 'checkpoint.safetensors'} --out ENGINES")
    return 0


if __name__ == "__main__":
    sys.exit(main())
