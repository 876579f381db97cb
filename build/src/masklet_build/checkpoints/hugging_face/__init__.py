"""Checkpoints in the layout of Hugging Face `transformers`: the same weights as the official ones, under other names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from masklet_build.checkpoints.hugging_face import edgetam, sam2, sam3
from masklet_build.checkpoints.hugging_face.files import safetensors_files

__all__ = ["safetensors_files", "to_official"]

_LAYOUTS = (sam3, edgetam, sam2)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `Sam2VideoModel`, `Sam3VideoModel`, `Sam3TrackerVideoModel` or `EdgeTamVideoModel` under the official names.

    Which of them it is, is told by its names. What has no official counterpart keeps a name of its own, so that a strict comparison shows it.
    A state dict that is none of them comes back as it is.
    """
    layout = next((layout for layout in _LAYOUTS if layout.recognises(state)), None)
    return layout.to_official(state) if layout else dict(state)
