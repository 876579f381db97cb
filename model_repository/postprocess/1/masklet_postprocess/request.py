"""One request: low-resolution logits, and the outputs of `contract.POSTPROCESS` made of them."""

from __future__ import annotations

import numpy as np

from masklet.envelope import Envelope
from masklet.errors import BadRequest
from masklet.mask_bytes import joined
from masklet_postprocess.forms import box, encode
from masklet_postprocess.upsample import mask_at

Tensors = dict[str, np.ndarray]


def finish(low: np.ndarray, envelope: Envelope) -> Tensors:
    """Every output of the model but TIMING, without batch dimension.

    low       (n, L, L) float32 logits, one per object; n is 0 for a control request
    envelope  as memory_bank sent it

    Boxes are computed in every form, none included. Raises BadRequest for logits that memory_bank did not send with this envelope.
    """
    if len(low) != envelope.objects:
        raise BadRequest(f"{len(low)} objects of logits came with an envelope for {envelope.objects}. Send requests to the model `tracker`.")
    size = envelope.size or (0, 0)
    masks, boxes = [], []
    for logits in low:
        placed = mask_at(logits, size)
        boxes.append(box(placed))
        masks.append(encode(placed, size, envelope.options.masks))
    return {
        **joined(masks),
        "BOXES": np.array(boxes, dtype=np.float32).reshape(-1, 4),
        "LOGITS": low if envelope.options.logits else low[:0],
        "TOKEN": np.frombuffer(envelope.token.encode(), np.uint8),
    }
