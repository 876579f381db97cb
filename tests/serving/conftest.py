"""A whole server with a small random network, started once per module: it takes most of a gigabyte."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from masklet import Tracker
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.serving.kept_engines import KeptEngines, apart, engines
from tests.serving.small import VARIANT, Serve, export_small


@pytest.fixture(scope="session")
def kept_engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> KeptEngines:
    """Exports engines, or copies those that were made of the same weights by the same sources before."""

    def of(weights: str, make: Callable[[Path], Path]) -> Path:
        return engines(request.config.cache.mkdir("engines"), weights, make, tmp_path_factory.mktemp("kept") / "engines")

    return of


@pytest.fixture(scope="session")
def small_engines(kept_engines: KeptEngines) -> Path:
    """Engines of a random network for frames of 64 x 64."""
    return kept_engines(f"{VARIANT}, random, seed 1", partial(apart, export_small))


@pytest.fixture(scope="session")
def serve_small(small_engines: Path, serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Assembles and runs a server, as often as wanted."""
    folder, numbers = tmp_path_factory.mktemp("repositories"), itertools.count()

    @contextmanager
    def serve(settings: Mapping[str, str], **options: str) -> Iterator[Server]:
        repository = assemble(VARIANT, small_engines, folder / str(next(numbers)), settings=settings, **options)
        with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
            yield server

    return serve


@pytest.fixture(scope="module")
def small_server(serve_small: Serve) -> Iterator[Server]:
    """A server that the tests of a module share, with the limits of the committed configs."""
    with serve_small({}) as server:
        yield server


@pytest.fixture
def tracker(small_server: Server) -> Iterator[Tracker]:
    with Tracker(small_server.grpc_url) as tracker:
        yield tracker
