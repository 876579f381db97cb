"""The preprocess model: its pure functions importable, its shell loaded with fake backend utilities."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.fakes import loading

sys.path.append(str(loading.MODELS / "preprocess" / "1"))

from masklet.envelope import server_key, verify
from masklet_preprocess.limits import Limits

FOLDER = loading.MODELS / "preprocess" / "1"
VARIANT = "efficienttam_ti_512"
S = 512


@pytest.fixture
def limits() -> Limits:
    return Limits(
        max_frame_side=400,
        max_frame_pixels=100_000,
        max_encoded_bytes=300_000,
        max_prompt_bytes=50_000,
        max_prompts=4,
        max_points=6,
        max_state_bytes=1000,
        max_mask_pixels=60_000,
    )


class Shell:
    """The model behind its Triton shell: arrays in, arrays by name out."""

    def __init__(self, utils: Any, limits: Limits) -> None:
        self.utils = utils
        config = loading.config("preprocess")
        for name, value in {**vars(limits), "variant": VARIANT, "image_size": S}.items():
            config.parameters[name].string_value = str(value)
        self.module = loading.load(FOLDER / "model.py")
        self.model = loading.started(self.module, loading.arguments(config, FOLDER.parent))

    def request(self, parameters: dict[str, Any] | None = None, token: str = "", video: int | str = 0, **arrays: Any) -> Any:
        """A request of these tensors. Bytes become BYTES tensors, lists JSON; the batch dimension is added."""
        tensors = []
        if "FRAME" in arrays:  # [H, W, 3] in tests
            arrays = {"FRAME_SIZE": np.array(arrays["FRAME"].shape[:2], np.int32), **arrays, "FRAME": arrays["FRAME"].reshape(-1)}
        for name, value in arrays.items():
            if isinstance(value, list):
                value = json.dumps(value).encode()
            array = np.array([[value]], dtype=np.object_) if isinstance(value, bytes) else value[None]
            tensors.append(self.utils.Tensor(name, array))
        return self.utils.InferenceRequest(token, video, tensors, parameters=parameters, model_name="preprocess")

    def execute(self, *requests: Any) -> list[dict[str, Any]]:
        """The answers, without batch dimension, and what is in their envelope as "envelope". Fails where an answer is an error."""
        responses = self.model.execute(list(requests))
        assert not any(response.has_error() for response in responses)
        answers = [{tensor.name(): tensor.as_numpy()[0] for tensor in response.output_tensors()} for response in responses]
        return [{**answer, "envelope": verify(answer["ENVELOPE"].tobytes(), server_key())[0]} for answer in answers]

    def __call__(self, parameters: dict[str, Any] | None = None, **arrays: Any) -> dict[str, Any]:
        return self.execute(self.request(parameters, **arrays))[0]


@pytest.fixture
def shell(limits: Limits) -> Iterator[Shell]:
    with loading.backend_utils() as utils:
        yield Shell(utils, limits)


@pytest.fixture
def picture() -> Callable[[int, int], np.ndarray]:
    """Makes a frame of that height and width: gradients and noise, so that every filter gives other pixels."""

    def make(height: int, width: int) -> np.ndarray:
        rng = np.random.default_rng(height * 10_000 + width)
        y, x = np.mgrid[:height, :width]
        smooth = np.stack([255 * x / width, 255 * y / height, 127 * (1 + np.sin(x * y / 50))], axis=-1)
        return np.clip(smooth + rng.integers(-40, 40, smooth.shape), 0, 255).astype(np.uint8)

    return make
