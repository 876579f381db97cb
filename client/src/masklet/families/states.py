"""How large a video's snapshot can be: so many bytes a server must take, and no real one is larger."""

from __future__ import annotations

from masklet.families.definitions import Variant

_LARGEST_MESSAGE = 2**31 - 1  # of gRPC, bytes


def state_bytes(variant: Variant, objects: int, conditioning: int, points: int) -> int:
    """Bytes of the largest snapshot: a video with all its objects, all their prompted frames, and the newest frame corrected.

    objects        of a video at most
    conditioning   prompted frames kept per object; 0 for no limit, and then what a message can carry
    points         of an object on one frame at most
    """
    if not conditioning:
        return _LARGEST_MESSAGE
    family, result = variant.family, _result_bytes(variant)
    of_points = points * (2 * 4 + 4)
    prompted = (
        result * (2 if family.corrections_condition else 1) + of_points
    )  # what was tracked there is kept, to come back when prompts are cleared
    newest = variant.low_size**2 * 4 + (0 if family.corrections_condition else result + of_points)
    ordinary = variant.slot_bytes(family.num_memories, family.num_pointers)
    arrays = objects * (conditioning * prompted + newest + ordinary)
    return min(16 + header_bytes(variant, objects, objects * conditioning) + arrays, _LARGEST_MESSAGE)


def header_bytes(variant: Variant, objects: int, prompted: int) -> int:
    """Bytes of the largest header of a snapshot, JSON: of so many objects with so many prompted frames together.

    An entry is counted with numbers as long as they get: 19 digits for a frame, 25 characters for a score.
    """
    family = variant.family
    entries = family.num_memories + family.num_pointers
    answers = prompted + objects
    arrays = answers * 8 + objects * entries
    return 2048 + answers * 320 + objects * (192 + 32 * entries + 24 * (family.num_pointers + 1)) + arrays * 32


def most_prompted(variant: Variant, nbytes: int) -> int:
    """Prompted frames that a snapshot of so many bytes has room for."""
    return nbytes // _result_bytes(variant)


def _result_bytes(variant: Variant) -> int:
    return variant.slot_bytes(1, 1) + variant.low_size**2 * 4
