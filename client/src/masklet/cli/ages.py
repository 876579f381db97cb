"""What became of the frames of a camera, in a line."""

from __future__ import annotations

from array import array
from collections import Counter

import numpy as np

from masklet.cli.told import counted
from masklet.results import TrackedFrame


class Ages:
    """Counts results by label, and keeps how old they were."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._skipped = 0
        self._ages_s = array("d")  # a day of a camera has millions

    def add(self, result: TrackedFrame) -> None:
        """A result that was handed out."""
        if result.age_s is None:
            return
        self._labels[result.label] += 1
        self._skipped += result.skipped
        self._ages_s.append(result.age_s)

    def __str__(self) -> str:
        """Empty where no source was live."""
        if not self._ages_s:
            return ""
        middle, most = np.percentile(self._ages_s, [50, 95])
        stale = f", {self._labels['stale']} results stale" if self._labels["stale"] else ""
        age = f"age of a result {middle:.3f} s (median), {most:.3f} s (95 %), {max(self._ages_s):.3f} s (longest)"
        return f"{counted(self._skipped, 'frame')} of the source jumped over{stale}; {age}"
