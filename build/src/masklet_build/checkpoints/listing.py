"""The command `masklet-build variants`: what can be served, how large it is, and where its weights come from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any

from masklet.families import VARIANTS, Family, Variant
from masklet_build import nano
from masklet_build.checkpoints.official_files import OFFICIAL_FILES, address

# Parameters of the networks, as PyTorch counts them; a test counts again.
PARAMETERS: Mapping[str, int] = {
    **{f"efficienttam_ti{suffix}": 17_866_018 for suffix in ("_512", "", "_1", "_2")},
    **{f"efficienttam_s{suffix}": 34_055_842 for suffix in ("_512", "", "_1", "_2")},
    "sam2.1_t": 38_962_498,
    "sam2.1_s": 46_060_354,
    "sam2.1_b+": 80_850_178,
    "sam2.1_l": 224_446_642,
    "sam2_t": 38_945_986,
    "sam2_s": 46_043_842,
    "sam2_b+": 80_833_666,
    "sam2_l": 224_430_130,
    "sam3": 464_930_690,  # what the tracker uses of the file, which holds the detector too
    "sam3_newest": 464_930_690,
    "edgetam": 13_895_794,
    "nano": 4_690_626,
}

EPILOG = """columns:
  image         side of the square image that the model sees, pixels; frames of any size are resized to it
  parameters    of the whole network, millions
  file          size of the checkpoint to download, MB; ? where it is stated nowhere
  per object    what the server keeps of a tracked object with one prompted frame, however long the video runs
  prompted      what each further prompted frame of the object adds

--json has the same and more: sha256 and address of every checkpoint, bytes instead of rounded sizes.

examples:
  masklet-build variants
  masklet-build variants --json | jq '.[] | select(.family == "sam2.1") | .name'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="for programs: a list of objects")


def run_variants(args: argparse.Namespace) -> int:
    """Runs the command. Returns the exit code."""
    print(json.dumps([described(variant) for variant in VARIANTS.values()], indent=2) if args.json else table(VARIANTS.values()))
    return 0


def described(variant: Variant) -> dict[str, Any]:
    """A variant for programs: sizes in pixels and bytes, null for what is not known."""
    return {
        "name": variant.name,
        "family": variant.family.name,
        "code": variant.family.official,
        "licence": variant.family.licence,
        "image_size": variant.image_size,
        "mask_size": variant.low_size,
        "memory_attention_pooling": variant.pooling,
        "parameters": PARAMETERS[variant.name],
        "bytes_per_object": variant.object_bytes(),
        "bytes_per_prompted_frame": _prompted_bytes(variant),
        "checkpoint": _checkpoint(variant),
    }


def _checkpoint(variant: Variant) -> dict[str, Any]:
    if not variant.official:
        return {"file": variant.checkpoint, "address": None, "size": nano.CHECKPOINT.stat().st_size, "sha256": None, "gated": None}
    known = OFFICIAL_FILES[variant.checkpoint]
    return {"file": variant.checkpoint, "address": address(variant), "size": known.size, "sha256": known.sha256, "gated": known.gated}


def _prompted_bytes(variant: Variant) -> int:
    return variant.object_bytes(conditioning=2) - variant.object_bytes(conditioning=1)


def table(variants: Iterable[Variant]) -> str:
    """The variants for people, then their families."""
    shown = list(variants)
    lines = [f"{'variant':<22}{'image':>6}{'parameters':>12}{'file':>10}{'per object':>13}{'prompted':>11}  checkpoint"]
    lines += [_line(variant) for variant in shown]
    for family in {variant.family.name: variant.family for variant in shown}.values():
        lines += ["", *_family(family, [variant for variant in shown if variant.family.name == family.name and variant.official])]
    return "\n".join([*lines, "", "Fetch one: masklet-build download VARIANT. What the columns mean: masklet-build variants --help"])


def _line(variant: Variant) -> str:
    size = _checkpoint(variant)["size"]
    file = f"{size / 1e6:.0f} MB" if size else "?"
    note = "" if variant.official else " (ours, in the package)"
    note += f" (memory attention pooled, {variant.pooling})" if variant.pooling != "none" else ""
    return (
        f"{variant.name:<22}{variant.image_size:>6}{PARAMETERS[variant.name] / 1e6:>10.1f} M{file:>10}{variant.object_bytes() / 2**20:>9.2f} MiB"
        f"{_prompted_bytes(variant) / 2**20:>7.2f} MiB  {variant.checkpoint}{note}"
    )


def _family(family: Family, variants: list[Variant]) -> list[str]:
    gates = {known.gated for known in (OFFICIAL_FILES[variant.checkpoint] for variant in variants) if known.gated}
    lines = [f"{family.name}: {family.licence}, code {family.official}", f"  checkpoints: {family.weights}<checkpoint>"]
    return lines + [f"  gated: accept the licence at {gate} first, then set HF_TOKEN" for gate in sorted(gates)]
