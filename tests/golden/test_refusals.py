"""A golden set that does not go with the variant is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet_build.models.variants import variant
from tests.golden import scenarios
from tests.golden.scenarios import GoldenError
from tests.golden.verify import export_golden

FOLDER = Path(__file__).parents[1] / "data" / "sam2.1_t_synthetic"


def test_another_image_size_than_the_recorded_one_names_the_right_variant(tmp_path):
    with pytest.raises(GoldenError, match=r"p2 was recorded with images of 1024 pixels, sam2.1_t@256 takes 256. Try sam2.1_t@1024"):
        export_golden(variant("sam2.1_t@256"), FOLDER, scenarios.load(FOLDER, "p2"), tmp_path, print)
    assert list(tmp_path.iterdir()) == []
