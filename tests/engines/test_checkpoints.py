"""A checkpoint loads completely or not at all, and the refusal says what the file is."""

from __future__ import annotations

import re

import pytest
import safetensors
import torch

from masklet.families import VARIANTS, variant
from masklet_build.checkpoints import loading
from masklet_build.checkpoints.loading import CheckpointError, load_checkpoint
from masklet_build.checkpoints.random_weights import noise, save_official
from masklet_build.models.network import parameter_shapes

pytestmark = pytest.mark.torch

TI, S, NANO = variant("efficienttam_ti_512"), variant("efficienttam_s_512"), variant("nano")


@pytest.fixture(scope="module")
def state():
    return {name: torch.from_numpy(noise(0, name, shape)) for name, shape in parameter_shapes(TI).items()}


@pytest.fixture
def refusal(tmp_path):
    def load(content, wanted=TI) -> str:
        path = tmp_path / "file.pt"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path, wanted)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return load


# Tensors of a state dict and trainable numbers of the official modules, as they print them.
OFFICIAL = {
    **{name: (455, 17_866_018 if "_ti" in name else 34_055_842) for name in VARIANTS if name.startswith("efficienttam")},
    "sam2.1_t": (471, 38_962_498),
    "sam2.1_s": (519, 46_060_354),
    "sam2.1_b+": (615, 80_850_178),
    "sam2.1_l": (903, 224_446_642),
    "sam2_t": (468, 38_945_986),
    "sam2_s": (516, 46_043_842),
    "sam2_b+": (612, 80_833_666),
    "sam2_l": (900, 224_430_130),
    # Tracker, transformer, and three levels of the tracker's neck (256 to 1024 channels); names below.
    **dict.fromkeys(("sam3", "sam3_newest"), (715, 11_743_362 + 446_237_696 + 3_278_080 + 2_819_072 + 852_480)),
    "edgetam": (982, 13_895_794),
}


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.official])
def test_an_official_checkpoint_has_the_documented_number_of_tensors_and_size(name):
    shapes = parameter_shapes(variant(name))
    buffers = ("gaussian_matrix", "running_mean", "running_var", "num_batches_tracked")
    trainable = sum(torch.Size(shape).numel() for key, shape in shapes.items() if not key.endswith(buffers))
    assert (len(shapes), trainable) == OFFICIAL[name]


def test_the_names_of_sam_3_are_the_official_ones():
    """Tensors of the tracker, and of trunk and neck, as the official modules have them (309, and 464 with 32 blocks, less what is not loaded:
    32 rotary tables, the detector's 22 and the unused 4)."""
    shapes, vision = parameter_shapes(variant("sam3")), "detector.backbone.vision_backbone."
    assert len([name for name in shapes if name.startswith("tracker.")]) == 309
    assert len([name for name in shapes if name.startswith(vision)]) == 464 - 32 - 22 - 4
    assert len(shapes) == 309 + 464 - 32 - 22 - 4
    for name, shape in {
        "tracker.transformer.encoder.layers.3.cross_attn_image.k_proj.weight": (256, 64),
        "tracker.transformer.encoder.norm.weight": (256,),
        "tracker.maskmem_backbone.mask_downsampler.encoder.12.weight": (256, 256, 1, 1),
        "tracker.sam_mask_decoder.transformer.layers.1.mlp.lin2.weight": (256, 2048),
        "tracker.sam_mask_decoder.iou_prediction_head.layers.2.weight": (4, 256),
        "tracker.sam_mask_decoder.conv_s1.weight": (64, 256, 1, 1),
        "tracker.obj_ptr_tpos_proj.weight": (64, 256),
        f"{vision}trunk.pos_embed": (1, 577, 1024),
        f"{vision}trunk.blocks.31.mlp.fc1.weight": (4736, 1024),
        f"{vision}sam2_convs.0.dconv_2x2_0.weight": (1024, 512, 2, 2),
    }.items():
        assert shapes[name] == shape


def test_the_blocks_of_sam_2_that_halve_the_map_are_where_they_are_officially():
    """First blocks of stages 2 to 4, and the shape of the last of them: 3 x out, in."""
    places = {"t": (1, 3, 10, 96), "s": (1, 3, 14, 96), "b+": (2, 5, 21, 112), "l": (2, 8, 44, 144)}
    for size, (*halving, width) in places.items():
        shapes = parameter_shapes(variant(f"sam2.1_{size}"))
        projected = [int(key.split(".")[3]) for key in shapes if re.fullmatch(r"image_encoder\.trunk\.blocks\.\d+\.proj\.weight", key)]
        assert projected == halving
        assert shapes[f"image_encoder.trunk.blocks.{halving[-1]}.attn.qkv.weight"] == (3 * 8 * width, 4 * width)


def test_a_complete_checkpoint_loads_with_its_own_values(state, tmp_path):
    save_official(state, tmp_path / "file.pt")
    loaded = load_checkpoint(tmp_path / "file.pt", TI)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_missing_an_unexpected_and_a_misshapen_tensor_are_all_named(state, refusal):
    changed = {name: tensor for name, tensor in state.items() if name != "no_obj_ptr"} | {"extra": torch.zeros(1), "no_mem_embed": torch.zeros(2)}
    message = refusal({"model": changed})
    assert "1 tensors missing: no_obj_ptr." in message
    assert "1 tensors unexpected: extra." in message
    assert "no_mem_embed is (2,), not (1, 1, 256)" in message
    assert "changed or saved in part" in message


def test_weights_of_the_other_size_are_recognised(state, refusal):
    message = refusal({"model": state}, wanted=S)
    assert "does not fit efficienttam_s_512" in message
    assert "It fits efficienttam_ti_512, efficienttam_ti, efficienttam_ti_1, efficienttam_ti_2" in message


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["image_encoder.trunk.pos_embed_window", "no_obj_embed_spatial"], "a SAM 2.1 checkpoint that was changed or saved in part"),
        (["image_encoder.trunk.pos_embed_window"], "a SAM 2 checkpoint that was changed or saved in part"),
        (["spatial_perceiver.latents"], "an EdgeTAM checkpoint that was changed or saved in part"),
        (["tracker.maskmem_tpos_enc"], "a SAM 3 checkpoint"),
        (["conv1.weight"], "does not look like a SAM-family checkpoint"),
    ],
)
def test_checkpoints_of_other_families_are_recognised(refusal, extra, words):
    assert words in refusal({"model": dict.fromkeys(extra, torch.zeros(1))})


def test_a_truncated_file_is_called_unreadable_with_its_size(state, refusal, tmp_path):
    save_official(state, tmp_path / "whole.pt")
    message = refusal((tmp_path / "whole.pt").read_bytes()[:100_000])
    assert "(100,000 bytes) cannot be read as a PyTorch checkpoint" in message
    assert "incomplete download" in message


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", bytes(range(255, 0, -1))])
def test_a_file_of_another_kind_is_called_unreadable(refusal, content):
    message = refusal(content)
    assert "cannot be read as a PyTorch checkpoint" in message
    assert "weights_only" not in message  # no advice to run what is in the file


@pytest.fixture(scope="module")
def nano_state():
    return {name: torch.from_numpy(noise(0, name, shape)) for name, shape in parameter_shapes(NANO).items()}


def test_masklets_own_checkpoint_keeps_every_tensor_rounded_to_half_precision(nano_state, tmp_path):
    path = tmp_path / "nano.safetensors"
    loading.save_checkpoint(path, nano_state, metadata={"steps": "3"})
    loaded = load_checkpoint(path, NANO)
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert loaded.keys() == nano_state.keys()
    assert all(torch.equal(loaded[name], nano_state[name].half().float()) for name in nano_state)
    numbers = sum(tensor.numel() for tensor in nano_state.values())
    assert 2 * numbers < path.stat().st_size < 2 * numbers + 100_000
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"steps": "3"}


def test_saving_what_was_loaded_changes_no_byte(nano_state, tmp_path):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    loading.save_checkpoint(first, nano_state, metadata={})
    loading.save_checkpoint(second, load_checkpoint(first, NANO), metadata={})
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_number_that_half_precision_cannot_hold_is_not_saved(nano_state, tmp_path, value):
    broken = {**nano_state, "no_obj_ptr": torch.full((1, 128), value)}
    with pytest.raises(ValueError, match="no_obj_ptr: not finite, or over 65504"):
        loading.save_checkpoint(tmp_path / "nano.safetensors", broken, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_safetensors_file_is_called_unreadable_with_its_size(nano_state, tmp_path):
    path = tmp_path / "nano.safetensors"
    loading.save_checkpoint(path, nano_state, metadata={})
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"nano.safetensors \(100,000 bytes\) cannot be read as safetensors"):
        load_checkpoint(path, NANO)


def test_weights_of_nano_are_recognised(nano_state, tmp_path):
    loading.save_checkpoint(tmp_path / "nano.safetensors", nano_state, metadata={})
    with pytest.raises(CheckpointError, match=r"does not fit efficienttam_ti_512.*It fits nano: name the variant"):
        load_checkpoint(tmp_path / "nano.safetensors", TI)


def test_a_missing_file_names_the_command_that_fetches_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*absent\.pt\. Fetch it: masklet-build download efficienttam_ti_512"):
        load_checkpoint(tmp_path / "absent.pt", TI)


@pytest.mark.parametrize("content", [{"state_dict": {}}, torch.zeros(3), {"model": {"epoch": 3}}])
def test_a_file_without_parameters_says_what_it_holds(refusal, content):
    assert "An official checkpoint holds the parameters by name" in refusal(content)
