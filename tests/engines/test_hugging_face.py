"""Models of Hugging Face transformers under the official names. No weights are downloaded: they are built from configurations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from masklet.families import VARIANTS
from masklet_build.checkpoints.hugging_face import to_official
from masklet_build.checkpoints.loading import CheckpointError, load_checkpoint
from masklet_build.models.network import BACKBONES, parameter_shapes
from masklet_build.models.trunks import Hiera
from masklet_build.models.variants import trunk_of, variant

pytest.importorskip("transformers")

from tests.reference import transformers_models

pytestmark = pytest.mark.torch

DATA = Path(__file__).resolve().parents[1] / "data"
EDGETAM = [name for name, variant in VARIANTS.items() if variant.perceiver]
SAM2 = [name for name, variant in VARIANTS.items() if isinstance(trunk_of(variant), Hiera)]


@pytest.fixture(scope="module", autouse=True)
def no_model_stays() -> Iterator[None]:
    yield
    transformers_models.made.cache_clear()


def shapes(state) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def without_memory(model) -> dict[str, torch.Tensor]:
    """The state dict of a model on the meta device, as zeros that take no memory."""
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in model.state_dict().items()}


def listed_vision_encoder() -> dict[str, torch.Tensor]:
    lines = (DATA / "edgetam_transformers" / "vision_encoder.txt").read_text().splitlines()
    return {name: torch.zeros([int(side) for side in sides.split("x") if side != "scalar"]) for name, sides in map(str.split, lines)}


@pytest.mark.parametrize("name", SAM2)
def test_a_model_of_sam2_has_the_official_names_and_shapes(name):
    with torch.device("meta"):
        model = transformers_models.sam2_model(variant(name))
    assert shapes(to_official(without_memory(model))) == parameter_shapes(variant(name))


@pytest.mark.parametrize("detector", [False, True], ids=["tracker alone", "with the detector"])
def test_a_model_of_sam3_has_the_official_names_and_shapes_of_the_tracker(detector):
    small = variant("sam3:2@672")
    with torch.device("meta"):
        model = transformers_models.sam3_with_detector(small) if detector else transformers_models.sam3_model(small)
    assert any(name.startswith("detector_model.mask_decoder.") for name in model.state_dict()) == detector
    official = to_official(without_memory(model))
    assert shapes(BACKBONES[type(trunk_of(small))].used(official, small)) == parameter_shapes(small)


@pytest.mark.parametrize("name", EDGETAM)
def test_a_model_of_edgetam_has_the_official_names_and_shapes(name):
    """Its image encoder from a list that transformers made together with timm (tests/data/README.md): timm is not installed here."""
    with torch.device("meta"):
        model = transformers_models.edgetam_model(variant(name))
    rest = {name: tensor for name, tensor in without_memory(model).items() if not name.startswith("vision_encoder.")}
    assert shapes(to_official(rest | listed_vision_encoder())) == parameter_shapes(variant(name))


def test_keys_and_values_of_edgetams_perceiver_are_joined_keys_first():
    layer = "spatial_perceiver.layers.0.cross_attention"
    state = {f"{layer}.v_proj.weight": torch.ones(2, 2), f"{layer}.k_proj.weight": torch.zeros(2, 2), "spatial_perceiver.latents_1d": torch.zeros(1)}
    assert to_official(state)["spatial_perceiver.layers.0.attn.to_kv.weight"].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_the_class_token_of_sam3s_position_embedding_comes_first():
    name = "vision_encoder.backbone.embeddings.position_embeddings"
    position = to_official({name: torch.ones(1, 4, 2)})["detector.backbone.vision_backbone.trunk.pos_embed"]
    assert position[0].tolist() == [[0, 0], *[[1, 1]] * 4]


@pytest.mark.parametrize(("name", "shard"), [("sam2.1_t@256", "50GB"), ("sam2.1_t@256", "50MB"), ("sam3:2@672", "50GB")])
def test_what_transformers_saves_is_read_whole_or_in_parts(narrow, tmp_path, name, shard):
    theirs, _, small = transformers_models.made(name)
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) == 1) == (shard == "50GB")
    loaded = load_checkpoint(tmp_path, small)
    expected = BACKBONES[type(trunk_of(small))].used(to_official(theirs.state_dict()), small)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_model_of_another_size_is_recognised(tmp_path):
    theirs, _, _ = transformers_models.made("sam2.1_t@256")
    theirs.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not fit sam2\.1_s.*It fits sam2\.1_t: name the variant"):
        load_checkpoint(tmp_path, variant("sam2.1_s"))
