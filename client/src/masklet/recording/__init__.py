"""Recordings: what a video asked and what it got, to look at, to send again, and to keep as a test."""

from masklet.recording.reader import Exchange, RecordedAnswer, Recording, folders, read

__all__ = ["Exchange", "RecordedAnswer", "Recording", "folders", "read"]
