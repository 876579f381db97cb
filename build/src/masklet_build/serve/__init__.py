"""Runs Triton from the PyPI wheel on a model repository: as a library (`Server`) and supervised (`masklet-build serve`)."""

from masklet.health import probe
from masklet_build.serve.command import add_arguments, run_serve
from masklet_build.serve.errors import ServeError
from masklet_build.serve.server import Server
from masklet_build.serve.supervisor import Policy, Supervisor

__all__ = ["Policy", "ServeError", "Server", "Supervisor", "add_arguments", "probe", "run_serve"]
