"""Whether `eager` computes what masklet's stages compute: each stage on the same inputs."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from benchmarks.eager import Eager
from masklet.contract import KIND_CLICK, KIND_TRACKED
from masklet_build.models.samples import Sizes, sample_inputs
from masklet_build.models.stages import TorchStages


@torch.inference_mode()
def differences(model: Eager, reference: TorchStages, frames: int, pointers: int, seed: int) -> dict[str, float]:
    """The largest absolute difference of each stage's outputs, by the stage's name.

    frames, pointers: how much is remembered. Memories are compared before they are rounded.
    """
    variant = model.variant
    samples = {name: sample_inputs(name, variant, Sizes(F=frames, P=pointers), seed) for name in reference.models}
    image = samples["image_encoder"]["IMAGE"]
    embedding = reference.call("image_encoder", {"IMAGE": image})["EMBEDDING"]
    return {
        "image_encoder": _largest(model.embed(model.normalised(image[0])), embedding),
        "memory_attention": _attention(model, reference, {**samples["memory_attention"], "EMBEDDING": embedding}),
        "mask_decoder": max(_decoder(model, reference, embedding, clicked) for clicked in (False, True)),
        "memory_encoder": max(_encoder(model, reference, embedding, samples["memory_encoder"]["LOW"], prompted) for prompted in (False, True)),
    }


def _attention(model: Eager, reference: TorchStages, inputs: dict[str, np.ndarray]) -> float:
    memories = list(torch.from_numpy(inputs["MEMORY"][0]))
    pointers = [torch.from_numpy(row)[None] for row in inputs["POINTERS"][0]]
    got = model.attend(torch.from_numpy(inputs["EMBEDDING"]), memories, inputs["SLOT"][0].tolist(), pointers)
    return _largest(got, reference.call("memory_attention", inputs)["CONDITIONED"])


def _decoder(model: Eager, reference: TorchStages, embedding: np.ndarray, clicked: bool) -> float:
    low = model.variant.low_size
    point = np.array([[0.3, 0.6]], np.float32) * model.variant.image_size
    ones, zeros = np.ones(1, np.int32), np.zeros(1, np.int32)
    inputs = {
        "FEATURES": embedding,
        "KIND": np.array([KIND_CLICK if clicked else KIND_TRACKED], np.int32),
        "POINTS": np.concatenate((point if clicked else 0 * point, 0 * point))[None],
        "LABELS": np.array([[1 if clicked else -1, -1]], np.int32),
        "MASK_PROMPT": np.zeros((1, 1, low, low), np.float32),
        "HAS_MASK": zeros,
        "MULTIMASK": ones,
        "PRESENT": ones,
    }
    wanted = reference.call("mask_decoder", inputs)
    features = torch.from_numpy(embedding) + (model.network.no_mem_embed.reshape(1, -1, 1, 1) if clicked else 0)
    got = model.decode(features, torch.from_numpy(point[0]) if clicked else None)
    pairs = ((got.low[:, 0], "LOW"), (got.score[:, 0], "SCORE"), (got.pointer, "POINTER"))
    return max(_largest(tensor, wanted[name]) for tensor, name in pairs)


def _encoder(model: Eager, reference: TorchStages, embedding: np.ndarray, low: np.ndarray, prompted: bool) -> float:
    high = functional.interpolate(torch.from_numpy(low)[:, None], scale_factor=4.0, mode="bilinear", align_corners=False)
    inputs = {"EMBEDDING": embedding, "VIDEO": np.zeros(1, np.int32), "LOW": low, "BINARISE": np.array([prompted], np.int32)}
    wanted = reference.call("memory_encoder", inputs)["MEMORY"]
    return _largest(model.memory(torch.from_numpy(embedding), high, prompted)[None], wanted)


def _largest(got: torch.Tensor, wanted: np.ndarray) -> float:
    assert got.shape == wanted.shape, f"{tuple(got.shape)} beside {wanted.shape}"
    return float((got - torch.from_numpy(wanted)).abs().max())
