"""Prints what the official modules of EdgeTAM make of drawn weights and inputs, as JSON: the numbers in printed.json.

In the root of this repository, with a checkout of facebookresearch/EdgeTAM, whose package is called sam2:

    PYTHONPATH=.:EdgeTAM python tests/data/edgetam_stages/print_official.py > printed.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import timm.models
import torch

create_model = timm.models.create_model
timm.models.create_model = lambda name, **options: create_model(name, **{**options, "pretrained": False})  # the checkpoint brings the weights
from sam2.build_sam import build_sam2_video_predictor  # noqa: E402

from tests.reference import drawn  # noqa: E402

SIDE = 512  # a perceiver's window has 2 x 2 features
GRID = SIDE // 16


def one(array: Any) -> torch.Tensor:
    return torch.from_numpy(array)[None]


def flat(x: torch.Tensor) -> torch.Tensor:
    """[1, C, H, W] -> [H W, 1, C], the layout of the official transformer."""
    return x.flatten(2).permute(2, 0, 1)


def image_encoder(model: Any, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = (one(given["IMAGE"]).permute(0, 3, 1, 2).double() / 255).float()
    levels = model.forward_image((pixels - mean) / std)["backbone_fpn"]
    return dict(zip(("HIGH_RES_0", "HIGH_RES_1", "EMBEDDING"), levels, strict=True))


def memory_encoder(model: Any, given: dict[str, Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Memories, and the position code of one, [512, 1, 64]."""
    embedding = flat(one(given["EMBEDDING"]))
    high = torch.nn.functional.interpolate(one(given["LOW"])[None], scale_factor=4.0, mode="bilinear", align_corners=False)
    outputs = {}
    for name, binarise in (("tracked", False), ("prompted", True)):
        outputs[f"MEMORY {name}"], code = model._encode_new_memory([embedding], [(GRID, GRID)], high, torch.ones(1, 1), binarise)
    return outputs, code[0].permute(1, 0, 2)


def memory_attention(model: Any, given: dict[str, Any], code: torch.Tensor) -> dict[str, torch.Tensor]:
    embedding = one(given["EMBEDDING"])
    tokens = torch.from_numpy(given["POINTERS"]).reshape(-1, 1, 64)
    out = model.memory_attention(
        curr=[flat(embedding)],
        curr_pos=[flat(model.image_encoder.neck.position_encoding(embedding))],
        memory=torch.cat([torch.from_numpy(given["MEMORY"]).reshape(-1, 1, 64), tokens]),
        memory_pos=torch.cat([*(code + model.maskmem_tpos_enc[slot] for slot in given["SLOT"]), torch.zeros_like(tokens)]),
        num_obj_ptr_tokens=len(tokens),
        num_spatial_mem=len(given["SLOT"]),
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


def main() -> None:
    overrides = [f"++model.image_size={SIDE}", f"++model.memory_attention.layer.cross_attention.q_sizes=[{GRID},{GRID}]"]
    model = build_sam2_video_predictor("configs/edgetam.yaml", device="cpu", hydra_overrides_extra=overrides)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.tensor(value) for name, value in drawn.weights(shapes).items()}, strict=True)
    given = drawn.inputs(GRID, 16, memory_tokens=512)
    memories, code = memory_encoder(model, given)
    outputs = image_encoder(model, given) | memories | memory_attention(model, given, code) | mask_decoder(model, given)
    numbers = {name: drawn.sampled(value.numpy()) for name, value in outputs.items()}
    sys.stdout.write(json.dumps({f"edgetam@{SIDE}": numbers}, indent=1) + "\n")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
