"""Checkpoints, official ones and masklet's own: reading, writing, and refusing what does not fit with a reason."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from masklet.families import VARIANTS, Variant
from masklet_build import nano
from masklet_build.checkpoints.hugging_face import safetensors_files, to_official
from masklet_build.checkpoints.official_files import OFFICIAL_FILES
from masklet_build.checkpoints.torch_files import SAVE_ALONE, foreign_classes, of_classes, read_torch
from masklet_build.checkpoints.torch_files import CheckpointError as CheckpointError
from masklet_build.checkpoints.wrappers import Weights, candidates, taken, tell, whole
from masklet_build.manifest import file_sha256
from masklet_build.models.network import BACKBONES, parameter_shapes
from masklet_build.models.variants import trunk_of

_SHOWN = 3  # names listed of each kind of mismatch
_SAM3 = "a SAM 3 checkpoint"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def load_checkpoint(path: str | Path, variant: Variant, *, weights: str | None = None, say: Callable[[str], None] = _say) -> dict[str, Tensor]:
    """The state dict in `path`, float32, checked to be complete and of the shapes that `variant` expects.

    path     an official file of torch.save, that of a training program, a .safetensors file, an index of several, or a folder of Hugging Face
             transformers; the names in it may be the official ones or those of transformers, behind prefixes of modules that wrapped the network
    weights  which, of a file that holds several, as `ema` or `state_dict/ema_model`; default: `model`, else the first that are no average
    say      gets a line where the weights do not lie as in official files

    Official variants of one size (plain, _1, _2, 512) have the same names and shapes: what tells them apart is the hash of an official file; of
    any other file the caller's word counts. Raises CheckpointError.
    """
    path = Path(path)
    if not path.exists():
        fetch = f"Fetch it: masklet-build download {variant.name}" if variant.official else "Correct the path."
        raise CheckpointError(f"There is no checkpoint {path}. {fetch}")
    source_of(path, variant)
    held = _held(path, variant)
    read = [(one, *_under_official_names(one, variant)) for one in held]
    expected = parameter_shapes(variant)
    fitting = {one: state for one, state, _ in read if _shapes(state) == expected}
    if not fitting:
        one, state, problem = max(read, key=lambda entry: (_family(entry[1]) is not None, len(entry[1].keys() & expected.keys())))
        found = _shapes(state)
        raise CheckpointError(f"{path} does not fit {variant.name}{_within(one)}{problem or f'. {_mismatch(found, expected)} {_guess(found)}'}")
    try:
        chosen = taken(list(fitting), weights)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    tell(path.name, list(fitting), chosen, say)
    return {name: tensor.float() for name, tensor in fitting[chosen].items()}


def _held(path: Path, variant: Variant) -> list[Weights]:
    """What may be the parameters. Raises CheckpointError where there is nothing of the kind."""
    content = _read(path)
    found = list(candidates(content, len(parameter_shapes(variant)) // 2)) or whole(content)
    if found:
        return found
    if foreign := foreign_classes(path):
        raise CheckpointError(f"{path} is whole, but holds no parameters by name: it {of_classes(foreign)} {SAVE_ALONE}")
    holds = f"a dict with {', '.join(map(repr, list(content)[:_SHOWN]))}" if isinstance(content, dict) else type(content).__name__
    raise CheckpointError(f"{path} holds {holds}. An official checkpoint holds the parameters by name, mostly in a dict with 'model'.")


def _under_official_names(weights: Weights, variant: Variant) -> tuple[dict[str, Tensor], str]:
    """The parameters that the variant uses; and why they are none of it, where that is no question of names."""
    try:
        return dict(BACKBONES[type(trunk_of(variant))].used(to_official(weights.state), variant)), ""
    except ValueError as error:
        return {}, f": {error}"


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _within(weights: Weights) -> str:
    """Where the best of what does not fit lies, if that is no official place."""
    return "" if weights.path in ((), ("model",)) else f", nor does what it holds under {weights.name}"


def source_of(path: str | Path, variant: Variant) -> str:
    """Whether a checkpoint is the official file of `variant`, in words. Raises CheckpointError where it is that of another variant."""
    found = checkpoint_sha256(path)
    name = next((name for name, known in OFFICIAL_FILES.items() if known.sha256 == found), None)
    if name is None and not variant.official and found == file_sha256(nano.CHECKPOINT):
        return "the file of this package"
    if name is None:
        return f"not an official file: that its weights are of {variant.name} is taken on trust, and others may have its names and shapes"
    if name != variant.checkpoint:
        right = " or ".join(other.name for other in VARIANTS.values() if other.checkpoint == name)
        fetch = f", or fetch that of {variant.name}: masklet-build download {variant.name}" if variant.official else ""
        raise CheckpointError(
            f"{path} is {name}, the official checkpoint of {right}, and not of {variant.name}: its sha256 says so. Name {right}{fetch}."
        )
    return f"the official file {name}"


def save_checkpoint(path: str | Path, state: Mapping[str, Tensor], *, metadata: Mapping[str, str]) -> None:
    """Writes masklet's own kind of checkpoint: safetensors with every tensor rounded to float16, which halves the file.

    Engines are exported from the file, so they start from the rounded numbers, and nothing differs afterwards. `metadata`: what the weights
    are and how they were made. Raises ValueError for a number that float16 cannot hold.
    """
    half = {name: tensor.detach().half().contiguous() for name, tensor in state.items()}
    lost = [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]
    if lost:
        raise ValueError(f"{_listed(lost)}: not finite, or over 65504, the largest float16. The training went wrong; do not ship this.")
    Path(path).write_bytes(safetensors.torch.save(half, dict(metadata)))


def checkpoint_sha256(path: str | Path, weights: str | None = None) -> str:
    """Identifies the content of a checkpoint: the sha256 of its file, or of the list of its files' sha256, one per line, if they are several.

    The `weights` that were chosen, if any were, count as one more line.
    """
    lines = [file_sha256(file) for file in _files(Path(path))] + ([weights] if weights else [])
    return lines[0] if len(lines) == 1 else hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    try:
        return safetensors_files(path) or [path]
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error


def _read(path: Path) -> object:
    files = _files(path)
    if files[0].suffix != ".safetensors":
        return read_torch(path)
    return {name: tensor for file in files for name, tensor in _read_safetensors(file).items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as safetensors: {error} "
            "It may be incomplete or another kind of file. Fetch it again."
        ) from error


def _mismatch(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    """What differs, in words."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    wrong = [f"{name} is {found[name]}, not {expected[name]}" for name in expected if name in found and found[name] != expected[name]]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    return " ".join(f"{len(names)} tensors {kind}: {_listed(names)}." for kind, names in parts if names)


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _guess(found: Mapping[str, tuple[int, ...]]) -> str:
    """What the file probably is instead."""
    fitting = [name for name, variant in VARIANTS.items() if parameter_shapes(variant) == found]
    if fitting:
        several = " (one and the same to a checkpoint)" if len(fitting) > 1 else ""
        return f"It fits {', '.join(fitting)}{several}: name the variant that it is of."
    if family := _family(found):
        changed = " that was changed or saved in part. Use the original file."
        return f"It looks like {family}{': name that variant, or use the original file.' if family == _SAM3 else changed}"
    return "It does not look like a SAM-family checkpoint."


def _family(names: Collection[str]) -> str | None:
    """What a checkpoint with parameters of these names seems to be."""
    if "tracker.maskmem_tpos_enc" in names:  # with a detector, which no variant's tensors have
        return _SAM3
    ours = (
        ("spatial_perceiver.latents", "an EdgeTAM checkpoint"),
        ("image_encoder.trunk.pos_embed_window", "a SAM 2.1 checkpoint" if "no_obj_embed_spatial" in names else "a SAM 2 checkpoint"),
        ("image_encoder.trunk.pos_embed", "an EfficientTAM checkpoint"),
    )
    return next((kind for name, kind in ours if name in names), None)
