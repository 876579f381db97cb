"""The command `masklet-build train`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from masklet_build import nano

EPILOG = """The recipe decides everything that is learned: sizes, steps, rates, seed. The default one made the shipped model, nearly:
see masklet_build/nano/README.md.
Stop at any time; --resume goes on from the last saved state (at most five minutes are lost).

  masklet-build train --out training/
  masklet-build train --out training/ --resume
  masklet-build export nano --checkpoint training/checkpoint.safetensors --out engines/
  masklet-build evaluate nano --engines engines/ --out quality/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `masklet-build train`."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="metrics.jsonl, curves.png, the state to resume from, the checkpoint")
    parser.add_argument("--recipe", type=Path, default=nano.RECIPE, metavar="FILE", help="(default: the one in masklet_build/nano)")
    parser.add_argument("--begin-with", type=Path, metavar="FILE", help="checkpoint to begin with (default: random weights)")
    parser.add_argument("--resume", action="store_true", help="go on with the training in DIR; phases of the recipe that lie ahead may have changed")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: cuda where there is a GPU)")
    parser.add_argument("--processes", type=int, metavar="N", help="that share the work (default: on a CPU as many as can share the clips evenly)")


def run_train(args: argparse.Namespace) -> int:
    """Runs the command. Returns the exit code."""
    missing = [name for name in ("torch", "safetensors", "matplotlib") if find_spec(name) is None]
    if missing:
        return _fail(f"{', '.join(missing)} not installed here. Use the build environment: pip install 'masklet-build[train]'.")
    import torch

    from masklet_build.checkpoints import CheckpointError
    from masklet_build.train.loop import Setting
    from masklet_build.train.recipe import Recipe, RecipeError
    from masklet_build.train.start import train

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cores = len(os.sched_getaffinity(0))
    workers = 1 if device == "cpu" else max(1, cores - 1)
    try:
        recipe = Recipe.read(args.recipe)
        processes = args.processes or recipe.most_processes(cores if device == "cpu" else 1)
        train(recipe, Setting(args.out, device, processes, args.begin_with, workers), resume=args.resume, say=_say)
    except KeyboardInterrupt:
        print(f"\nstopped. Go on with: masklet-build train --out {args.out} --resume", file=sys.stderr)
        return 130
    except (RecipeError, CheckpointError, OSError, ValueError) as error:
        return _fail(error)
    _say(f"wrote {args.out}. Next: masklet-build export {recipe.variant} --checkpoint {args.out / 'checkpoint.safetensors'} --out ENGINES")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _fail(error: object) -> int:
    print(f"masklet-build train: {error}", file=sys.stderr)
    return 1
