"""Frames from files, folders, cameras and streams."""
