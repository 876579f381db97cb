"""The server whose masks are scored: one that is started here, or one that runs already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from masklet.contract import POSTPROCESSING
from masklet.errors import ServerUnavailable
from masklet.transport.grpc_channel import channel_options
from masklet.transport.protocol import Transport
from masklet_build.models.variants import commanded_name
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server


@dataclass(frozen=True)
class Served:
    """What a server says of itself.

    url                its gRPC address, "host:port"; or what it is called, where it has none
    checkpoint_sha256  of the file that its engines were exported from
    transport          how to reach it; None: by gRPC
    postprocess        what it does to masks besides the network (`contract.POSTPROCESSING`)
    """

    url: str
    variant: str
    precision: str
    checkpoint_sha256: str
    transport: Transport | None = None
    postprocess: str = POSTPROCESSING[0]


@contextmanager
def started(variant_name: str, engines: Path, precision: str) -> Iterator[Served]:
    """Starts a server on engines, and stops it in the end. Raises AssembleError and ServeError."""
    with tempfile.TemporaryDirectory(prefix="masklet-evaluate-") as scratch:
        repository = assemble(variant_name, engines, Path(scratch) / "repository", precision=precision)
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
            yield _asked(server.grpc_url)


@contextmanager
def running(url: str, variant_name: str) -> Iterator[Served]:
    """A server that runs already. Raises ServerUnavailable where there is none at the gRPC address `url`, or one of another variant."""
    served = _asked(url)
    if served.variant != variant_name:
        raise ServerUnavailable(f"the server at {url} serves {served.variant}, not {variant_name}. Name that variant, or another server.")
    yield served


def _asked(url: str) -> Served:
    try:
        with InferenceServerClient(url, channel_args=channel_options()) as client:
            parameters = client.get_model_config("memory_bank").config.parameters
    except InferenceServerException as error:
        raise ServerUnavailable(f"no masklet server answers at {url}: {error.message()}. Is it the gRPC port of `masklet-build serve`?") from error
    known = {name: parameters[name].string_value for name in ("precision", "checkpoint_sha256")}
    known["postprocess"] = parameters["postprocess"].string_value or POSTPROCESSING[0]  # of a server from before it had any
    return Served(url, commanded_name(parameters["variant"].string_value, int(parameters["image_size"].string_value)), **known)
