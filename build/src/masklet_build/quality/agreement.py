"""How much the masks of several servers agree, whatever the true masks are."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from masklet_build.quality.measures import region_similarity
from masklet_build.quality.methods import Answer


class Agreement:
    """Keeps the masks that one server gave (a few hundred bytes each), and compares with them what others give for the same clips and prompts."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._ious: dict[tuple[str, str], list[float]] = defaultdict(list)

    def kept(self, clip: str, prompt: str, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Passes the answers on, and keeps their masks as the server gave them."""
        for answer in answers:
            self._kept[clip, prompt].append(zlib.compress(np.packbits(answer.raw).tobytes(), 1))
            yield answer

    def compared(self, precision: str, clip: str, prompt: str, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Passes another server's answers on, and compares their masks with those kept. The first frame is left out: it is prompted, not tracked.

        precision  of that server
        """
        for index, (answer, packed) in enumerate(zip(answers, self._kept[clip, prompt], strict=True)):
            if index:
                bits = np.frombuffer(zlib.decompress(packed), np.uint8)
                other = np.unpackbits(bits, count=answer.raw.size).view(np.bool_).reshape(answer.raw.shape)
                self._ious[precision, prompt] += region_similarity(other, answer.raw).tolist()
            yield answer

    def mean_iou(self) -> dict[tuple[str, str], float]:
        """By precision and prompt, over all objects and tracked frames; 1 where both masks are empty."""
        return {compared: float(np.mean(values)) for compared, values in self._ious.items()}
