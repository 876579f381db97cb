"""SAM 2.1 in the streaming session of Hugging Face transformers (`Sam2VideoInferenceSession`), what that package has for live video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from benchmarks.steady import Setting, to_and_fro

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as the processor of SAM 2 has them


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def random_weights(folder: Path) -> Path:
    """A checkpoint of SAM 2.1 tiny as transformers saves it, below `folder`: random weights with an object in every frame."""
    torch.manual_seed(0)
    model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).requires_grad_(False)  # the default is SAM 2.1 tiny
    for tensor in model.parameters():
        tensor += 0.02 * torch.randn(tensor.shape)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)  # one in every checkpoint
    model.mask_decoder.pred_obj_score_head.proj_out.bias += 5
    model.save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


class Sessions:
    """The model, in float32 or bfloat16."""

    def __init__(self, checkpoint: Path, precision: str) -> None:
        self._model = transformers.Sam2VideoModel.from_pretrained(checkpoint, dtype=_DTYPES[precision]).eval()

    def begin(self, setting: Setting) -> SessionVideo:
        """See `baseline.Baseline`."""
        session = Session(self._model, setting.height, setting.width)
        pixels = [session.pixels(frame) for frame in setting.frames]
        session.track(pixels[0], setting.clicks)
        return SessionVideo(session, to_and_fro(pixels))


class SessionVideo:
    """See `baseline.Video`."""

    def __init__(self, session: Session, frames: Iterator[Tensor]) -> None:
        self._session, self._frames = session, frames
        self.kept_bytes = session.kept_bytes

    def track(self) -> np.ndarray:
        """See `baseline.Video`."""
        return self._session.track(next(self._frames))

    def block(self) -> AbstractContextManager[Any]:
        """Nothing: the model itself has the precision."""
        return nullcontext()

    def late(self, videos: int = 1) -> dict[str, list[SessionVideo]]:
        """See `baseline.Video`."""
        assert videos == 1, "a session has no twins"
        return {"session of transformers": [self]}


class Session:
    """One video. Its processor's work is done here, since the processor needs torchvision, of which there is no CPU build on every index.

    height, width   of the video, and of the masks
    """

    def __init__(self, model: Any, height: int, width: int) -> None:
        self._model, self._size = model, (height, width)
        self._side = model.config.image_size
        self._session = Sam2VideoInferenceSession(video_height=height, video_width=width, dtype=model.dtype)

    def pixels(self, frame: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> [3, S, S], resized and normalised."""
        image = np.array(Image.fromarray(frame).resize((self._side, self._side)))
        scaled = (torch.from_numpy(image).float() / 255 - torch.tensor(_MEAN)) / torch.tensor(_STD)
        return scaled.permute(2, 0, 1).contiguous().to(self._model.device, self._model.dtype)

    @torch.inference_mode()
    def track(self, pixels: Tensor, clicks: Sequence[tuple[int, int]] = ()) -> np.ndarray:
        """Masks [N, H, W], bool, of the next frame. `clicks`: a point on each object, x and y in pixels of the video, with the first frame."""
        for object_id, (x, y) in enumerate(clicks, 1):
            point = torch.tensor([x * self._side / self._size[1], y * self._side / self._size[0]])
            inputs = {"point_coords": point.reshape(1, 1, 1, 2).to(self._model.dtype), "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
            self._session.add_point_inputs(self._session.obj_id_to_idx(object_id), 0, inputs)
            self._session.obj_with_new_inputs.append(object_id)
        low = self._model(inference_session=self._session, frame=pixels).pred_masks
        return (functional.interpolate(low.float(), self._size, mode="bilinear", align_corners=False)[:, 0] > 0).cpu().numpy()

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
