"""What TensorRT made of attention: fused, or score matrices that go through memory, and what these cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from masklet.families import MEMORY_WIDTH, Variant
from masklet_build.engines.plans import Layers
from masklet_build.export.profiles import Profile

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_ATTENDING = ("image_encoder", "memory_attention", "mask_decoder")


def remarks(variant: Variant, layers: Mapping[str, Layers], table: Mapping[str, Sequence[Profile]], attention: str) -> list[str]:
    """Says of each engine that attends whether its attention is fused, a sentence each. `attention`: type of its cores."""
    said = []
    for engine in (name for name in _ATTENDING if name in layers):
        fused = layers[engine].attention
        if fused:
            said.append(f"{engine}: {fused} fused attention kernels in {len(table[engine])} profiles.{_cores(variant, engine)}")
        else:
            said.append(f"{engine}: attention is NOT fused, {_why(attention)}.{_cost(variant, engine, attention)}")
    return said


def _cores(variant: Variant, engine: str) -> str:
    """How many there would be if all were fused: self- and cross-attention of each layer."""
    return f" All of its attention would be {2 * variant.memory_layers} in each." if engine == "memory_attention" else ""


def _why(attention: str) -> str:
    """TensorRT fuses attention of 16-bit types only (TensorRT documentation, "Fused Attention")."""
    if attention == "fp32":
        return "as always in fp32"
    return f"although it is {attention}: on this GPU TensorRT has no such kernel, or found none that is faster"


def _cost(variant: Variant, engine: str, attention: str) -> str:
    """Of memory attention late in a video, where it counts: the scores of all keys, memories and pointers, go through memory."""
    if engine != "memory_attention":
        return ""
    family = variant.family
    keys = variant.memory_tokens * family.num_memories + family.num_pointers * variant.hidden // MEMORY_WIDTH
    mib = variant.grid**2 * keys * _BYTES[attention] / 2**20
    return f" Each of its {variant.memory_layers} layers writes and reads {mib:.0f} MiB of scores per object and frame, late in a video."
