"""Synthetic videos with exact masks: for training, for tests of quality and for the demo. Needs numpy and Pillow, no more."""

from masklet_build.clips.clip import SPLITS, Clip, Split, make_clip
from masklet_build.clips.prompts import bounding_box, inner_point
from masklet_build.clips.stories import STORIES
from masklet_build.clips.subsets import SUBSETS

__all__ = ["SPLITS", "STORIES", "SUBSETS", "Clip", "Split", "bounding_box", "inner_point", "make_clip"]
