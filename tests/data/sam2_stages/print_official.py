"""Prints what the official modules of SAM 2 make of drawn weights and inputs, as JSON: the numbers in printed.json.

In the root of this repository, with a checkout of facebookresearch/sam2:

    PYTHONPATH=.:sam2 python tests/data/sam2_stages/print_official.py > printed.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from sam2.build_sam import build_sam2_video_predictor
from sam2.modeling.sam2_utils import get_1d_sine_pe

from tests.reference import drawn

SIDE = 64
SIZES = [("sam2.1", size) for size in ("t", "s", "b+", "l")] + [("sam2", "t")]


def one(array: Any) -> torch.Tensor:
    return torch.from_numpy(array)[None]


def flat(x: torch.Tensor) -> torch.Tensor:
    """[1, C, H, W] -> [H W, 1, C], the layout of the official transformer."""
    return x.flatten(2).permute(2, 0, 1)


def printed(generation: str, size: str) -> dict[str, list[float]]:
    overrides = [f"model.image_size={SIDE}"]
    model = build_sam2_video_predictor(f"configs/{generation}/{generation}_hiera_{size}.yaml", device="cpu", hydra_overrides_extra=overrides)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.weights(shapes).items()}, strict=True)
    given = drawn.inputs(SIDE // 16, 16)
    outputs = image_encoder(model, given)
    if size == "t":  # the other stages are the same for all sizes
        outputs |= memory_attention(model, given) | mask_decoder(model, given) | memory_encoder(model, given)
    return {name: drawn.sampled(value.numpy()) for name, value in outputs.items()}


def image_encoder(model: Any, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = (one(given["IMAGE"]).permute(0, 3, 1, 2).double() / 255).float()
    levels = model.forward_image((pixels - mean) / std)["backbone_fpn"]
    return dict(zip(("HIGH_RES_0", "HIGH_RES_1", "EMBEDDING"), levels, strict=True))


def memory_attention(model: Any, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    embedding = one(given["EMBEDDING"])
    grid = embedding.shape[-1]
    place = flat(model.memory_encoder.position_encoding(torch.zeros(1, 64, grid, grid)))
    tokens = torch.from_numpy(given["POINTERS"]).reshape(-1, 1, 64)
    time = torch.zeros_like(tokens)
    if model.add_tpos_enc_to_obj_ptrs:
        code = model.obj_ptr_tpos_proj(get_1d_sine_pe(torch.from_numpy(given["DISTANCE"]) / 15, dim=256))
        time = code.repeat_interleave(4, dim=0)[:, None]
    out = model.memory_attention(
        curr=[flat(embedding)],
        curr_pos=[flat(model.image_encoder.neck.position_encoding(embedding))],
        memory=torch.cat([torch.from_numpy(given["MEMORY"]).reshape(-1, 1, 64), tokens]),
        memory_pos=torch.cat([*(place + model.maskmem_tpos_enc[slot] for slot in given["SLOT"]), time]),
        num_obj_ptr_tokens=len(tokens),
    )
    return {"CONDITIONED": out.permute(1, 2, 0)}


def mask_decoder(model: Any, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    points = {"point_coords": one(given["POINTS"]), "point_labels": one(given["LABELS"])}
    outputs = {}
    for name, several in (("single", False), ("best", True)):
        *_, low, _, pointer, score = model._forward_sam_heads(
            one(given["EMBEDDING"]),
            point_inputs=points,
            mask_inputs=one(given["LOW"])[None],
            high_res_features=[one(given["HIGH_RES_0"]), one(given["HIGH_RES_1"])],
            multimask_output=several,
        )
        outputs |= {f"LOW {name}": low, f"POINTER {name}": pointer, "SCORE": score}
    return outputs


def memory_encoder(model: Any, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    embedding = one(given["EMBEDDING"])
    high = torch.nn.functional.interpolate(one(given["LOW"])[None], scale_factor=4.0, mode="bilinear", align_corners=False)
    outputs = {}
    for name, score, binarise in (("present", 1.0, False), ("absent", 0.0, False), ("prompted", 1.0, True)):
        memory, _ = model._encode_new_memory([flat(embedding)], [embedding.shape[-2:]], high, torch.tensor([[score]]), binarise)
        outputs[f"MEMORY {name}"] = memory.flatten(2).transpose(1, 2)
    return outputs


if __name__ == "__main__":
    with torch.inference_mode():
        numbers = {f"{generation}_{size}@{SIDE}": printed(generation, size) for generation, size in SIZES}
    text = json.dumps(numbers, indent=1)
    sys.stdout.write(text + "\n")
