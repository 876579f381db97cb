"""Runs Triton from the PyPI wheel on a model repository: as a library (`Server`) and supervised (`masklet-build serve`)."""

from masklet_build.serve.errors import ServeError
from masklet_build.serve.server import Server

__all__ = ["ServeError", "Server"]
