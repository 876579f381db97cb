"""One request: what the client sent, and the fixed tensors of `contract.preprocess` made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

from masklet.errors import BadParameter, BadRequest, BadState, MaskletError
from masklet.families import Variant
from masklet.wire import Options
from masklet_preprocess import frames
from masklet_preprocess.limits import Limits
from masklet_preprocess.prompts import parse
from masklet_preprocess.tensors import Tensors, pack


@dataclass(frozen=True)
class Request:
    """The inputs of one request, without batch dimension. None: the client left it out.

    frame        (H, W, 3) uint8 RGB
    encoded      file bytes of a JPEG, PNG or WebP
    prompts      JSON list
    state        (n,) uint8
    parameters   JSON object of request parameters
    """

    frame: np.ndarray | None = None
    encoded: bytes | None = None
    prompts: bytes | None = None
    state: np.ndarray | None = None
    parameters: str = "{}"


def prepare(request: Request, variant: Variant, limits: Limits) -> Tensors:
    """Every output of the model but CLOCK, without batch dimension. Raises MaskletError for what the client did wrong.

    A request without a frame is a control request: SIZE 0, 0 and a black image.
    """
    _check_parameters(request.parameters)
    tensors = _empty(variant)
    if request.state is not None:
        tensors["RESTORE"] = _checked_state(request.state, limits)
    image = _open_frame(request, limits)
    size = None if image is None else (image.height, image.width)
    prompts = parse(request.prompts or b"[]", size, limits)
    if image is not None:
        tensors["SIZE"] = np.array(size, dtype=np.int32)
        tensors["IMAGE"] = frames.to_model(image, variant.image_size)
    return tensors | pack(prompts, size, variant)


def refuse(error: MaskletError, variant: Variant, *, restores: bool) -> Tensors:
    """The outputs of a request that memory_bank shall answer with `error`: nothing else is in them.

    restores: the request has a STATE. One byte of RESTORE stands for it, so that memory_bank does not open an empty video in its place.
    """
    return _empty(variant) | {
        "STATUS": np.array([error.wire().encode()], dtype=np.object_),
        "RESTORE": np.zeros(int(restores), dtype=np.uint8),
    }


def _empty(variant: Variant) -> Tensors:
    """The outputs of a request that carries nothing."""
    return {
        "IMAGE": np.zeros((variant.image_size, variant.image_size, 3), dtype=np.uint8),
        "STATUS": np.array([b""], dtype=np.object_),
        "SIZE": np.zeros(2, dtype=np.int32),
        "RESTORE": np.zeros(0, dtype=np.uint8),
        **pack([], None, variant),
    }


def _check_parameters(text: str) -> None:
    """memory_bank and postprocess act on the parameters; here they are only refused early, before any work is done."""
    try:
        parameters = json.loads(text or "{}")
    except ValueError as error:
        raise BadParameter(f"the request parameters are no JSON: {error}.") from None
    Options.parse(parameters)


def _checked_state(state: np.ndarray, limits: Limits) -> np.ndarray:
    if state.ndim != 1 or not 0 < state.nbytes <= limits.max_state_bytes:
        raise BadState(f"STATE has shape {list(state.shape)}; the server takes 1 to {limits.max_state_bytes} bytes. Send what SNAPSHOT gave.")
    return state


def _open_frame(request: Request, limits: Limits) -> Image.Image | None:
    if request.frame is not None and request.encoded is not None:
        raise BadRequest("the request carries FRAME and FRAME_ENCODED. Send one of them.")
    if request.frame is not None:
        return frames.from_raw(request.frame, limits)
    return None if request.encoded is None else frames.from_encoded(request.encoded, limits)
