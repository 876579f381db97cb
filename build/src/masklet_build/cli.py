"""The command `masklet-build`: from a checkpoint to a running server."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from masklet import families
from masklet_build import export_command, listing, nano, serve
from masklet_build.assemble import DEVICES, PRECISIONS, RUNTIMES, TARGETS, AssembleError, assemble
from masklet_build.combine import combine
from masklet_build.download import command as download
from masklet_build.lint import command as lint
from masklet_build.models import variants
from masklet_build.output import OutputExists
from masklet_build.quality import command as quality
from masklet_build.selftest import command as selftest
from masklet_build.tensorrt import command as tensorrt
from masklet_build.train import command as train

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

on a GPU, in NVIDIA's images (docker/tensorrt.md):
  masklet-build engine efficienttam_ti_512 --onnx engines/ --out plans/
  masklet-build selftest plans/
  masklet-build assemble efficienttam_ti_512 --engines plans/ --target tensorrt --out repository/

The variant is always said, never guessed: the four official checkpoints of one size have the same tensors.

exit codes: 0 done, 1 it failed and the last line says why, 2 wrong arguments (`serve` has codes of its own)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code."""
    args = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except BrokenPipeError:  # whoever read our output, as in `masklet-build variants | head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="masklet-build", description=__doc__, epilog=EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing.add_arguments(_add(commands, "variants", "list what can be served, with sizes, licences and sources", listing.run_variants))
    downloaded = _add(commands, "download", "fetch the official checkpoint of a variant", download.run_download)
    _variant_argument(downloaded)
    download.add_arguments(downloaded)
    exported = _add(commands, "export", "turn a checkpoint into checked ONNX engines", export_command.run_export)
    _variant_argument(exported)
    export_command.add_arguments(exported)
    engine = _add(commands, "engine", "build TensorRT plans of exported engines, on the GPU that will run them", tensorrt.run_engine)
    _variant_argument(engine)
    tensorrt.add_arguments(engine)
    _assemble_arguments(_add(commands, "assemble", "put engines and models together into a Triton model repository", _assemble))
    _combine_arguments(_add(commands, "combine", "put the repositories of several variants side by side into one", _combine))
    serve.add_arguments(_add(commands, "serve", "run Triton from the PyPI wheel on a model repository", serve.run_serve))
    lint.add_arguments(_add(commands, "lint", "find in exported engines what TensorRT would not take", lint.run_lint))
    _verify_arguments(_add(commands, "verify", "replay golden scenarios through a real server", _verify))
    selftest.add_arguments(_add(commands, "selftest", "are these engines right on this machine? the first command on a GPU", selftest.run_selftest))
    train.add_arguments(_add(commands, "train", "train masklet's own small model on drawn clips", train.run_train))
    evaluated = _add(commands, "evaluate", "score tracked masks against true ones: J, F and J&F", quality.run_evaluate)
    _variant_argument(evaluated)
    quality.add_arguments(evaluated)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run, refuse=parser.error)
    return parser


def _variant_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("variant", metavar="VARIANT", type=_variant_name, help=f"one of {', '.join(families.VARIANTS)}")


def _variant_name(text: str) -> str:
    try:
        return variants.variant(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _assemble_arguments(parser: argparse.ArgumentParser) -> None:
    _variant_argument(parser)
    parser.add_argument(
        "--engines",
        type=Path,
        metavar="DIR",
        help="what `masklet-build export` wrote (default for nano: the package's own); for target tensorrt what `masklet-build engine` wrote",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPO", help="where the model repository goes, whole or not at all")
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="embedded",
        help="embedded: engines run inside python models, for Triton from the PyPI wheel; separate: the same, each engine a model of its own; "
        "onnxruntime, tensorrt: Triton's own backends, for NVIDIA's image (default: %(default)s)",
    )
    parser.add_argument("--runtime", choices=RUNTIMES, default="openvino", help="of the targets embedded and separate (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=(*PRECISIONS, "fp16"),
        help="bf16 needs OpenVINO; programs and plans have theirs from the export (default: fp32, or that)",
    )
    parser.add_argument("--device", type=_device, default="auto", help="of torch: auto, cpu, cuda, cuda:1 ... (default: CUDA where there is one)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads per engine (default: all cores)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="MODEL.PARAMETER=VALUE",
        help="change a limit or another parameter of a config, as in --set memory_bank.max_videos=8 (repeatable)",
    )
    parser.add_argument("--force", action="store_true", help="replace REPO")


def _device(text: str) -> str:
    if text not in DEVICES and not (text.startswith("cuda:") and text[5:].isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DEVICES)}, nor one of several GPUs, as cuda:1 is")
    return text


def _combine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Each variant's public model is then tracker_VARIANT: masklet.Tracker(url, model=...), masklet track --model ..."
    parser.add_argument("repositories", nargs="+", type=Path, metavar="REPO", help="what `masklet-build assemble` wrote, one variant each")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the repository goes, whole or not at all")
    parser.add_argument("--force", action="store_true", help="replace DIR")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    _variant_argument(parser)
    parser.add_argument("--golden", type=Path, required=True, metavar="FOLDER", help="folder with recipe.json, expected_<scenario>.npz, frames/ ...")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="(default: all of them; repeatable)")
    parser.add_argument("--runtime", choices=RUNTIMES, default="openvino", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="the bars are those of fp32 (default: %(default)s)")
    parser.add_argument("--python", metavar="FILE", help="interpreter of the serving environment")


def _assemble(args: argparse.Namespace) -> int:
    if args.target == "tensorrt" and not args.engines:
        args.refuse(f"--engines is required for target tensorrt: the plans that `masklet-build engine {args.variant}` built on the GPU that serves.")
    try:
        assemble(
            args.variant,
            args.engines or nano.shipped(args, "--engines", nano.ENGINES, f"Make others: masklet-build export {args.variant} --help"),
            args.out,
            target=args.target,
            runtime=args.runtime,
            precision=args.precision,
            device=args.device,
            threads=args.threads,
            settings=_settings(args.set),
            force=args.force,
        )
    except (AssembleError, OutputExists, OSError) as error:
        return _fail("assemble", error)
    _say_next(args.out)
    return 0


def _combine(args: argparse.Namespace) -> int:
    try:
        trackers = combine(args.repositories, args.out, force=args.force)
    except (AssembleError, OutputExists, OSError) as error:
        return _fail("combine", error)
    _say_next(args.out, f" with {', '.join(trackers)}")
    return 0


def _say_next(repository: Path, what: str = "") -> None:
    """What was written, and how it is served."""
    for warning in serve.image.warnings(repository):
        _say(f"warning: {warning}")
    command = serve.image.command(repository) if serve.image.backend(repository) else f"masklet-build serve {repository}"
    _say(f"wrote {repository}{what}. Next: {command}")


def _settings(words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise AssembleError(f"--set {word}: write it as MODEL.PARAMETER=VALUE.")
    return dict(word.split("=", 1) for word in words)


def _verify(args: argparse.Namespace) -> int:
    if find_spec("torch") is None:
        return _fail("verify", "torch is not installed here. Use the build environment: pip install 'masklet-build[export]'.")
    from masklet_build.checkpoints import CheckpointError
    from masklet_build.golden import GoldenError
    from masklet_build.verify import table, verify

    try:
        reports = verify(args.variant, args.golden, args.scenario, runtime=args.runtime, precision=args.precision, python=args.python, progress=_say)
    except (CheckpointError, GoldenError, serve.ServeError, OSError) as error:
        return _fail("verify", error)
    print(table(reports))
    return 0 if all(report.comparison.within for report in reports) else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _fail(command: str, error: object) -> int:
    print(f"masklet-build {command}: {error}", file=sys.stderr)
    return 1
