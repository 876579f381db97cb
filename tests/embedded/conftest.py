"""What the tests of the runner of TensorRT for RTX share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from masklet.families import NANO
from masklet_build import nano
from tests.fakes import loading
from tests.plans.stubs import compile_driver

if TYPE_CHECKING:
    from tests.fakes.rtx_world import World


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, driver: Path) -> World:
    from tests.embedded.rtx import TABLES
    from tests.fakes.rtx_world import World

    made = World(TABLES, nano.ENGINES)
    made.install(monkeypatch, driver)
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    from tests.embedded.rtx import repository_in

    return repository_in(tmp_path)


@pytest.fixture
def utils() -> Iterator[ModuleType]:
    with loading.backend_utils() as utils:
        yield utils


@pytest.fixture
def stages(utils: ModuleType, world: World, repository: Path) -> Any:
    from tests.embedded.rtx import PARAMETERS

    return loading.load(loading.MODELS / "memory_bank" / "1" / "model.py").EmbeddedStages(NANO, repository / "memory_bank/1/engines", PARAMETERS)
