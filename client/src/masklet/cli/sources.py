"""`read_image` under the name that it had."""

from masklet.sources.images import read_image

__all__ = ["read_image"]
