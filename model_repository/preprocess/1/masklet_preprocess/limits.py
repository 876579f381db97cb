"""The server's limits on one request. No request can lift them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Bounds of what one request may cost. Order is kept across all videos of this stage, so one slow frame delays everybody.

    max_frame_side      pixels, longest side of a frame
    max_frame_pixels    pixels of a frame (height x width)
    max_encoded_bytes   bytes of FRAME_ENCODED
    max_prompt_bytes    bytes of PROMPTS
    max_prompts         prompts of one request
    max_mask_pixels     pixels (height x width) of all mask prompts of one request together
    max_points          points of one prompt; a box counts as two
    max_state_bytes     bytes of STATE
    """

    max_frame_side: int
    max_frame_pixels: int
    max_encoded_bytes: int
    max_prompt_bytes: int
    max_prompts: int
    max_points: int
    max_state_bytes: int
    max_mask_pixels: int = 4 * 4096 * 2160

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Limits:
        """Reads the `parameters` of config.pbtxt. Raises ValueError that names the parameter which is missing or no positive integer."""
        return cls(**{field.name: positive(parameters, field.name) for field in fields(cls)})


def positive(parameters: Mapping[str, str], name: str) -> int:
    """One of them. Raises ValueError as above."""
    text = parameters.get(name, "")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(f"config parameter {name} of preprocess is {text!r}. Set it to a positive integer.")
    return int(text)
