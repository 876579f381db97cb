"""What happened, as lines of JSON: `session.jsonl`.

The first line says who recorded what; then there is a line for each request, answer, refusal and break, in the order in which they happened. Times
are seconds after the first line. A request is numbered from 0, and what comes back names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from masklet.errors import MaskletError
from masklet.recording.frames import answered, sent_size
from masklet.results import TrackedFrame
from masklet.transport.protocol import Answer, Broken, Event, Request
from masklet.wire import Options

SESSION = "session.jsonl"
FORMAT = 1
_SECRET = "owner"  # whoever has it can do to the video what its client can


def request_line(number: int, request: Request, seconds: float, frame: Mapping[str, Any] | None, state: str | None) -> dict[str, Any]:
    """frame, state: where the frame and the snapshot are."""
    size = sent_size(request)
    said = {
        "request": number,
        "t": round(seconds, 6),
        "video": request.video_id,
        "start": request.start,
        "end": request.end,
        "parameters": {name: value for name, value in request.parameters.items() if name != _SECRET},
        "prompts": json.loads(request.tensors["PROMPTS"][0, 0]) if "PROMPTS" in request.tensors else [],
        "frame": frame,
        "size": size,
        "state": state,
    }
    return {name: value for name, value in said.items() if value is not None}


def event_line(number: int, request: Request, event: Event, seconds: float) -> dict[str, Any]:
    """What came back to a request. `number` is -1 where it belongs to none."""
    when = {"t": round(seconds, 6)}
    if isinstance(event, Broken):
        return {"break": event.text, **when}
    if not isinstance(event, Answer):
        return {"refusal": event.text, "request": number, **when}
    try:
        return {"answer": number, **when, **answer_fields(answered(request, event), Options.parse(request.parameters).masks)}
    except (MaskletError, KeyError, ValueError) as error:  # the client will say so too
        return {"refusal": f"an answer that cannot be read: {error}", "request": number, **when}


def answer_fields(result: TrackedFrame, form: str) -> dict[str, Any]:
    """The masks as run lengths, in whatever form they came."""
    return {
        "frame_index": result.frame_index,
        "objects": list(result.object_ids),
        "rles": None if form == "none" else result.rles,
        "boxes": _numbers(result.boxes),
        "scores": _numbers(result.scores),
        "ious": _numbers(result.ious),
        "timing": {name: round(value, 3) for name, value in result.timing.items()},
    }


def text(line: Mapping[str, Any]) -> bytes:
    """A line of the file."""
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()


def whole_lines(content: bytes) -> list[dict[str, Any]]:
    """The lines of a file that may have been cut off anywhere. Raises ValueError where one is no JSON."""
    whole, _, _ = content.rpartition(b"\n")
    return [json.loads(line) for line in whole.split(b"\n")] if whole else []


def _numbers(values: np.ndarray) -> Any:
    """float32 as float64, which comes back as the same float32."""
    return values.astype(np.float64).tolist()
