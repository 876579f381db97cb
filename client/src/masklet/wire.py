"""The parts of the wire that are not tensors: request parameters.

Client and server both read this module, so that a name is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from masklet.errors import BadParameter

MASK_FORMS = ("rle", "bitmap", "png", "none")
MaskForm = Literal["rle", "bitmap", "none"]  # what this client asks for
Overlap = Literal["allowed", "exclusive"]
OVERLAPS = get_args(Overlap)


@dataclass(frozen=True)
class Options:
    """The parameters of one request.

    masks        form of MASKS: "rle" (COCO compressed, JSON), "bitmap" (np.packbits), "png" (8-bit grey 0/255), "none"
    logits       fill LOGITS
    snapshot     fill SNAPSHOT
    refine       this is the frame just answered, with more prompts
    track        False: compute only the objects prompted in this request
    frame_index  index of this frame; None: the next one in the direction of travel
    reverse      the video is sent backwards
    info         fill SNAPSHOT with what the server says of itself, JSON; goes without a frame
    keep_alive   nothing is asked: the video is only to be remembered; goes without a frame
    overlap      "exclusive": no two objects of the answer have a pixel in common; "allowed"
    owner        token of the client that started the video; others are refused
    """

    masks: str = "rle"
    logits: bool = False
    snapshot: bool = False
    refine: bool = False
    track: bool = True
    frame_index: int | None = None
    reverse: bool = False
    info: bool = False
    keep_alive: bool = False
    overlap: Overlap = "allowed"
    owner: str | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, object]) -> Options:
        """Reads the parameters of a request. Raises BadParameter for unknown names and wrong types."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(parameters) - known)
        if unknown:
            raise BadParameter(f"unknown request parameter {unknown[0]!r}. Known: {', '.join(sorted(known))}.")
        for name, value in parameters.items():
            _check(name, value)
        return cls(**parameters)  # type: ignore[arg-type]  # checked one by one above

    def parameters(self) -> dict[str, object]:
        """The options that differ from the defaults, as request parameters."""
        return {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) != field.default}


def owner_of(parameters: Mapping[str, object]) -> str | None:
    """The owner in a request's parameters, whatever is wrong with the others; None for one that nobody can be."""
    try:
        _check("owner", parameters.get("owner"))
    except BadParameter:
        return None
    return str(parameters["owner"])


_WORDS = {"masks": MASK_FORMS, "overlap": OVERLAPS}


def _check(name: str, value: object) -> None:
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise BadParameter(f"parameter {name} is {value!r}. Use one of {', '.join(_WORDS[name])}.")
    elif name == "frame_index":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadParameter(f"parameter frame_index is {value!r}. It must be an integer of at least 0.")
    elif name == "owner":
        if not isinstance(value, str) or not 1 <= len(value) <= 128:
            raise BadParameter("parameter owner must be a string of 1 to 128 characters.")
    elif not isinstance(value, bool):
        raise BadParameter(f"parameter {name} is {value!r}. It must be true or false.")
