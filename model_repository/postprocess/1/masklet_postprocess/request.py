"""One request: low-resolution logits, and the outputs of `contract.POSTPROCESS` made of them."""

from __future__ import annotations

import numpy as np

from masklet.errors import ServerFault
from masklet.wire import Options
from masklet_postprocess.forms import box, encode
from masklet_postprocess.upsample import mask_at

Tensors = dict[str, np.ndarray]


def finish(low: np.ndarray, size: tuple[int, int], options: Options) -> Tensors:
    """Every output of the model but TIMING, without batch dimension.

    low    (n, L, L) float32 logits, one per object; n is 0 for a control request
    size   height and width of the frame; 0, 0 for a control request

    Boxes are computed in every form, none included. Raises ServerFault where there are objects but no frame.
    """
    if len(low) > 0 and min(size) <= 0:
        raise ServerFault(f"memory_bank sent {len(low)} objects for a frame of {size[0]} x {size[1]}. Report it.")
    masks, boxes = [], []
    for logits in low:
        placed = mask_at(logits, size)
        boxes.append(box(placed))
        masks.append(encode(placed, size, options.masks))
    return {
        "MASKS": np.array(masks, dtype=np.object_),
        "BOXES": np.array(boxes, dtype=np.float32).reshape(-1, 4),
        "LOGITS": low if options.logits else np.zeros((0, 0, 0), dtype=np.float32),
    }
