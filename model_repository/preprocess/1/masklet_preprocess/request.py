"""What the client sent, and what the stages behind get of it: an envelope and the tensors of `contract.preprocess`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from masklet.envelope import Envelope
from masklet.errors import BadParameter, BadRequest, BadState, MaskletError
from masklet.families import Variant
from masklet.wire import Options
from masklet_preprocess import frames
from masklet_preprocess.limits import Limits
from masklet_preprocess.masks import mask_tensors
from masklet_preprocess.prompts import parse

Tensors = dict[str, np.ndarray]

_MAX_ERROR = 4000  # characters: it may quote what the client sent, which may be of any length; an envelope may not


@dataclass(frozen=True)
class Inputs:
    """The inputs of one request, without batch dimension. None: the client left it out.

    frame        (k,) uint8, H x W x 3 bytes of RGB
    size         (2,) int32, height and width of `frame`
    encoded      file bytes of a JPEG, PNG or WebP
    prompts      JSON list
    state        (n,) uint8
    parameters   JSON object of request parameters
    """

    frame: np.ndarray | None = None
    size: np.ndarray | None = None
    encoded: bytes | None = None
    prompts: bytes | None = None
    state: np.ndarray | None = None
    parameters: str = "{}"


class Prepared(NamedTuple):
    """What is handed on: the envelope, without what only the server knows (whose it is, times), and every other output, without batch dimension."""

    envelope: Envelope
    tensors: Tensors


def prepare(inputs: Inputs, variant: Variant, limits: Limits) -> Prepared:
    """Raises MaskletError for what the client did wrong. A request without a frame is a control request: no size and a black image."""
    options = _options(inputs.parameters)
    tensors = _empty(variant)
    if inputs.state is not None:
        tensors["RESTORE"] = _checked_state(inputs.state, limits)
    image = _open_frame(inputs, limits)
    size = None if image is None else (image.height, image.width)
    prompts, masks = parse(inputs.prompts or b"[]", size, limits, variant.image_size)
    if image is not None:
        tensors["IMAGE"] = frames.to_model(image, variant.image_size)
    told = asdict(limits) if options.info else {}
    envelope = Envelope(restores=inputs.state is not None, size=size, options=options, prompts=prompts, limits=told)
    return Prepared(envelope, tensors | mask_tensors(masks, size, variant))


def refuse(error: MaskletError, variant: Variant, *, restores: bool) -> Prepared:
    """What is handed on of a request that memory_bank shall answer with `error`: nothing else. `restores`: the request has a STATE."""
    return Prepared(Envelope(error=error.wire()[:_MAX_ERROR], restores=restores), _empty(variant))


def _empty(variant: Variant) -> Tensors:
    """The outputs of a request that carries nothing."""
    return {
        "IMAGE": np.zeros((variant.image_size, variant.image_size, 3), dtype=np.uint8),
        "RESTORE": np.zeros(0, dtype=np.uint8),
        **mask_tensors({}, None, variant),
    }


def _options(text: str) -> Options:
    """The request's parameters. The owner is left out: every stage reads it from its own request."""
    try:
        parameters = json.loads(text or "{}")
    except ValueError as error:
        raise BadParameter(f"the request parameters are no JSON: {error}.") from None
    return replace(Options.parse(parameters), owner=None)


def _checked_state(state: np.ndarray, limits: Limits) -> np.ndarray:
    if state.ndim != 1 or not 0 < state.nbytes <= limits.max_state_bytes:
        raise BadState(f"STATE has shape {list(state.shape)}; the server takes 1 to {limits.max_state_bytes} bytes. Send what SNAPSHOT gave.")
    return state


def _open_frame(inputs: Inputs, limits: Limits) -> Image.Image | None:
    if inputs.frame is not None and inputs.encoded is not None:
        raise BadRequest("the request carries FRAME and FRAME_ENCODED. Send one of them.")
    if inputs.frame is not None:
        return frames.from_raw(inputs.frame, inputs.size, limits)
    return None if inputs.encoded is None else frames.from_encoded(inputs.encoded, limits)
