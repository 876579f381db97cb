"""Where frames come from: video files, folders of images, cameras, streams."""

from masklet.errors import SourceError
from masklet.sources.frame import Frame
from masklet.sources.newest import newest
from masklet.sources.opening import open_source
from masklet.sources.source import Skipped, Source

__all__ = ["Frame", "Skipped", "Source", "SourceError", "newest", "open_source"]
