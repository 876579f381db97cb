"""nano in PyTorch, and a short drawn clip as the range scan shows it."""

from __future__ import annotations

import pytest

from masklet.families import NANO
from masklet_build import nano
from masklet_build.checkpoints import load_checkpoint
from masklet_build.torch_stages import TorchStages
from masklet_build.typed.film import drawn_film


@pytest.fixture(scope="session")
def reference() -> TorchStages:
    return TorchStages(load_checkpoint(nano.CHECKPOINT, NANO), NANO)


@pytest.fixture(scope="session")
def film():
    return drawn_film(NANO.image_size)[:4]
