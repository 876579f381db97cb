"""What TensorRT made of a network, read from its engine inspector's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from masklet_build.engines.plans import Layers


def count_layers(text: str) -> Layers:
    """Counts kinds of layers in `EngineInspector.get_engine_information(JSON)` of an engine built with DETAILED verbosity.

    TensorRT documents no list of layer types, so kinds are told by words in name, type and tactic: fused attention by "mha" (`_gemm_mha_v2`, `fmha`,
    ...). A layer is a JSON object, or, with less verbosity, a name alone. Raises ValueError for other text.
    """
    words = [" ".join(_words(layer)).lower() for layer in json.loads(text)["Layers"]]
    return Layers(
        total=len(words),
        attention=sum("mha" in said for said in words),
        casts=sum("cast" in said.replace("broadcast", "") for said in words),
        reformats=sum("reformat" in said for said in words),
    )


def _words(layer: str | Mapping[str, Any]) -> Iterator[str]:
    if isinstance(layer, str):
        yield layer
        return
    for key in ("Name", "LayerType", "TacticName"):
        yield str(layer.get(key, ""))
