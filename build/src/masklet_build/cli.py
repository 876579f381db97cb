"""The command `masklet-build`: from a checkpoint to a running server."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NamedTuple

from masklet_build import serve
from masklet_build.check import command as selftest
from masklet_build.checkpoints import listing
from masklet_build.checkpoints.download import command as download
from masklet_build.common import add_variant
from masklet_build.engines import command as engines
from masklet_build.engines import lint
from masklet_build.explain import command as explain
from masklet_build.export import command as export
from masklet_build.quality import command as quality
from masklet_build.repository import command as repository

DESCRIPTION = "From a checkpoint to a running server."

EPILOG = """without a download, with masklet's own model, which is in the package:
  masklet-build assemble nano --out repository/
  masklet-build serve repository/

from an official checkpoint to masks:
  masklet-build variants
  masklet-build download efficienttam_ti_512
  masklet-build export efficienttam_ti_512 --checkpoint efficienttam_ti_512x512.pt --out engines/
  masklet-build assemble efficienttam_ti_512 --engines engines/ --out repository/
  masklet-build serve repository/
  masklet track clip.mp4 --url localhost:8001 --point 210,350 --out masks/

on a GeForce or RTX GPU, without a container (build/gpu.md):
  masklet-build export efficienttam_ti_512 --checkpoint efficienttam_ti_512x512.pt --precision bf16 --out engines/
  masklet-build engine efficienttam_ti_512 --onnx engines/ --rtx --out plans/
  masklet-build selftest plans/
  masklet-build assemble efficienttam_ti_512 --engines plans/ --runtime tensorrt-rtx --out repository/

on a GPU, in NVIDIA's images (docker/tensorrt.md):
  masklet-build engine efficienttam_ti_512 --onnx engines/ --out plans/
  masklet-build selftest plans/
  masklet-build assemble efficienttam_ti_512 --engines plans/ --target tensorrt --out repository/

The variant is always said, never guessed: the four official checkpoints of one size have the same tensors.
Options of a command: masklet-build COMMAND --help

exit codes: 0 done, 1 it failed and the last line says why, 2 wrong arguments (`serve` has codes of its own)"""

Add = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]


class Command(NamedTuple):
    """A command: what it does in a few words, its arguments, what runs it, and whether it takes a variant before all other arguments."""

    text: str
    add: Add
    run: Run
    of_variant: bool = False


GROUPS: dict[str, dict[str, Command]] = {
    "to serve a model": {
        "variants": Command("list what can be served, with sizes, licences and sources", listing.add_arguments, listing.run_variants),
        "download": Command("fetch the official checkpoint of a variant", download.add_arguments, download.run_download, True),
        "export": Command("turn a checkpoint into checked ONNX engines", export.add_arguments, export.run_export, True),
        "assemble": Command(
            "put engines and models together into a Triton model repository", repository.add_assemble_arguments, repository.run_assemble
        ),
        "combine": Command(
            "put the repositories of several variants side by side into one", repository.add_combine_arguments, repository.run_combine
        ),
        "serve": Command("run Triton from the PyPI wheel on a model repository", serve.add_arguments, serve.run_serve),
    },
    "for GPUs": {
        "lint": Command("find in exported engines what TensorRT would not take", lint.add_arguments, lint.run_lint),
        "engine": Command(
            "build TensorRT plans of exported engines, on the GPU that will run them, or for RTX cards on any CPU",
            engines.add_arguments,
            engines.run_engine,
            True,
        ),
        "selftest": Command("are these engines right on this machine? the first command on a GPU", selftest.add_arguments, selftest.run_selftest),
    },
    "to measure": {
        "evaluate": Command("score tracked masks against true ones: J, F and J&F", quality.add_arguments, quality.run_evaluate, True),
        "explain": Command("why an object got its mask on a frame of a recording: attention, candidates", explain.add_arguments, explain.run_explain),
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code."""
    args = _parser().parse_args(arguments)
    run: Run = args.run
    try:
        return run(args)
    except BrokenPipeError:  # whoever read our output, as in `masklet-build variants | head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="masklet-build",
        usage="masklet-build COMMAND [OPTIONS]",
        description=f"{DESCRIPTION}\n\n{_commands()}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"masklet-build {version('masklet-build')}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS)
    for group in GROUPS.values():
        for name, command in group.items():
            one = subparsers.add_parser(name, prog=f"masklet-build {name}", description=command.text[0].upper() + command.text[1:] + ".")
            one.set_defaults(run=command.run, refuse=one.error)
            if command.of_variant:
                add_variant(one)
            command.add(one)
    return parser


def _commands() -> str:
    """The commands by group, which argparse cannot show."""
    return "\n\n".join(
        "\n".join([f"{title}:", *(f"  {name:<10}{command.text}" for name, command in group.items())]) for title, group in GROUPS.items()
    )
