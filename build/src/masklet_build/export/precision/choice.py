"""What is asked of an export: types of projections and of attention, and whom the graphs are for. No torch here, so that commands start fast."""

from __future__ import annotations

from dataclasses import dataclass

from masklet.families import Variant

PRECISIONS = ("fp32", "fp16", "bf16")
PURPOSES = ("cpu", "tensorrt", "torch")

# Fused fp16 attention keeps the sum of a row's exponentials in fp16. They are at most 1 each, so the sum can reach the number of keys, and fp16 ends
# at 65,504: 65,536 keys gave NaN (tier4/autoware-ml, pull request 95). NVIDIA measured fp16 faster and more accurate than bf16 with up to 51,840
# keys (TensorRT-Model-Connect, families/sam3); above that nobody has.
FP16_KEYS = 52_000

CONDITIONING = 8  # prompted frames that a server keeps of an object, by default (model_repository/memory_bank/config.pbtxt, max_conditioning)


@dataclass(frozen=True)
class Choice:
    """What an export is to be.

    precision   type of projections and convolutions: fp32, fp16 or bf16
    attention   type of attention cores
    purpose     whom the forms of the graphs suit: cpu or tensorrt; or torch, whose engines are PyTorch programs
    """

    precision: str = "fp32"
    attention: str = "fp32"
    purpose: str = "cpu"

    @classmethod
    def of(cls, variant: Variant, precision: str = "fp32", attention: str | None = None, purpose: str | None = None) -> Choice:
        """Fills in what is not said. Raises ValueError for what does not go together.

        attention   fp32 with precision fp32; for PyTorch, whose kernels sum in fp32, as precision; else fp16 where the keys of a late frame are few
                    enough for it, or bf16
        purpose     tensorrt where a type is reduced, else cpu
        """
        if attention is None:
            fitting = "fp16" if most_keys(variant) <= FP16_KEYS else "bf16"
            attention = precision if precision == "fp32" or purpose == "torch" else fitting
        made = cls(precision, attention, purpose or "")
        if not purpose:
            made = cls(precision, attention, "tensorrt" if made.reduced else "cpu")
        if made.reduced and made.purpose == "cpu":
            raise ValueError(
                f"precision {precision} with attention {attention} is for TensorRT and PyTorch: on a CPU it is slower than fp32. Say another "
                "purpose, or none; or export fp32 and assemble with precision bf16, for which OpenVINO needs no other engines."
            )
        return made

    @property
    def reduced(self) -> bool:
        """Whether something is not fp32."""
        return {self.precision, self.attention} != {"fp32"}

    @property
    def scanned(self) -> bool:
        """Whether something becomes fp16, which can overflow; bf16 has the range of float32."""
        return "fp16" in (self.precision, self.attention)

    def __str__(self) -> str:
        return self.precision if self.attention == self.precision else f"{self.precision} (attention {self.attention})"


PLAIN = Choice()  # fp32 for CPUs


def most_keys(variant: Variant) -> int:
    """Keys of the widest attention of a variant: those of memory attention on a late frame of an object with as many prompted frames as are kept.

    A memory has T tokens, pooled ones a quarter; a pointer is hidden / 64 tokens.
    """
    family = variant.family
    conditioning = min(limit for limit in (CONDITIONING, family.max_conditioning) if limit)
    memories, pointers = family.num_memories - 1 + conditioning, family.num_pointers - 1 + conditioning
    tokens = variant.memory_tokens // (1 if variant.pooling == "none" else 4)
    return memories * tokens + pointers * variant.hidden // 64
