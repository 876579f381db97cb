"""Servers of nano, which need no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server
from tests.deploy.nano_server import ServeNano


@pytest.fixture(scope="session")
def nano_repository(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mapping[str, str]], Path]:
    """Assembles nano with settings of memory_bank; the file by which it drains is its own."""

    def made(settings: Mapping[str, str]) -> Path:
        folder = tmp_path_factory.mktemp("nano")
        every = {"drain_file": str(folder / "draining"), **settings}
        return assemble("nano", nano.ENGINES, folder / "repository", settings={f"memory_bank.{name}": value for name, value in every.items()})

    return made


@pytest.fixture(scope="session")
def serve_nano(nano_repository: Callable[[Mapping[str, str]], Path], serving_python: Path) -> ServeNano:
    """Runs nano, as often as wanted. Its drain file is `draining` beside its repository."""

    @contextmanager
    def serve(settings: Mapping[str, str]) -> Iterator[Server]:
        repository = nano_repository(settings)
        with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
            yield server

    return serve
