"""A live video in the streaming session of Hugging Face transformers (`Sam2VideoInferenceSession`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as the processor of SAM 2 has them


class Session:
    """One video. Its processor's work is done here, since the processor needs torchvision, of which there is no CPU build on every index.

    height, width   of the video, and of the masks
    """

    def __init__(self, model: Any, height: int, width: int) -> None:
        self._model, self._size = model, (height, width)
        self._side = model.config.image_size
        self._session = Sam2VideoInferenceSession(video_height=height, video_width=width, dtype=model.dtype)

    def pixels(self, frame: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> [3, S, S], resized and normalised; done before the clock starts, as for the eager videos of the other benchmarks."""
        image = np.array(Image.fromarray(frame).resize((self._side, self._side)))
        scaled = (torch.from_numpy(image).float() / 255 - torch.tensor(_MEAN)) / torch.tensor(_STD)
        return scaled.permute(2, 0, 1).contiguous().to(self._model.dtype)

    @torch.inference_mode()
    def track(self, pixels: Tensor, clicks: Sequence[tuple[int, int]] = ()) -> np.ndarray:
        """Masks [N, H, W], bool, of the next frame. `clicks`: a point on each object, x and y in pixels of the video, with the first frame."""
        for object_id, (x, y) in enumerate(clicks, 1):
            point = torch.tensor([x * self._side / self._size[1], y * self._side / self._size[0]])
            inputs = {"point_coords": point.reshape(1, 1, 1, 2).to(self._model.dtype), "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
            self._session.add_point_inputs(self._session.obj_id_to_idx(object_id), 0, inputs)
            self._session.obj_with_new_inputs.append(object_id)
        low = self._model(inference_session=self._session, frame=pixels).pred_masks
        return (functional.interpolate(low.float(), self._size, mode="bilinear", align_corners=False)[:, 0] > 0).numpy()

    def kept_bytes(self) -> int:
        """What the session holds in tensors: frames, features, and the outputs of every frame."""
        held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(vars(self._session).values())}
        return sum(held.values())


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value.values())
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
