"""Where frames come from: video files, folders of images, cameras, streams."""

from masklet.sources.frame import Frame

__all__ = ["Frame"]
