"""nano in PyTorch, and a short drawn clip as the range scan shows it."""

from __future__ import annotations

import pytest

from masklet.families import NANO
from masklet_build import nano
from masklet_build.checkpoints.loading import load_checkpoint
from masklet_build.export.precision.film import drawn_film
from masklet_build.models.stages import TorchStages


@pytest.fixture(scope="session")
def reference() -> TorchStages:
    return TorchStages(load_checkpoint(nano.CHECKPOINT, NANO), NANO)


@pytest.fixture(scope="session")
def film():
    return drawn_film(NANO.image_size)[:4]
