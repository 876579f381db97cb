"""What the server says of itself to clients that ask: `masklet.info` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from masklet.contract import VERSION
from masklet_bank.admission import Settings
from masklet_bank.videos import Videos


def told(settings: Settings, limits: Mapping[str, int], videos: Videos, *, draining: bool) -> bytes:
    """JSON. `limits` are those of preprocess. Nobody's videos can be told apart by it."""
    bank, capacity, variant = settings.limits, settings.capacity, settings.variant
    objects = max(0, videos.ledger.limit - videos.ledger.taken) // capacity.object_bytes(1)
    room = 0 if draining else min(capacity.max_videos - len(videos), objects)
    told = {
        "variant": settings.identity["variant"],
        "image_size": variant.image_size,
        "cell": variant.image_size // variant.low_size,
        "precision": settings.identity["precision"],
        "checkpoint_sha256": settings.identity["checkpoint_sha256"],
        "version": VERSION,
        "limits": {
            "frame_side": limits["max_frame_side"],
            "frame_pixels": limits["max_frame_pixels"],
            "frame_bytes": limits["max_encoded_bytes"],
            "prompts": limits["max_prompts"],
            "mask_pixels": limits["max_mask_pixels"],
            "points": min(limits["max_points"], bank.max_points),
            "objects": bank.max_objects,
            "prompted_frames": bank.max_conditioning,
            "videos": capacity.max_videos,
            "idle_seconds": capacity.idle_seconds,
        },
        "room": {"videos": max(0, room), "objects": objects},
    }
    return json.dumps(told).encode()
