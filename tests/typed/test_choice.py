"""What is not said is filled in; what does not go together is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from masklet.families import VARIANTS, variant
from masklet_build import cli
from masklet_build.export.precision.choice import CONDITIONING, PRECISIONS, Choice, most_keys
from masklet_build.manifest import KeptModule, Manifest
from tests.fakes.loading import config


def test_fp32_for_cpus_is_the_default_and_reduced_precision_is_for_tensorrt() -> None:
    assert Choice.of(variant("nano")) == Choice("fp32", "fp32", "cpu")
    assert Choice.of(variant("nano"), purpose="tensorrt") == Choice("fp32", "fp32", "tensorrt")
    assert Choice.of(variant("nano"), "bf16").purpose == Choice.of(variant("nano"), "fp32", "fp16").purpose == "tensorrt"
    with pytest.raises(ValueError, match="precision fp16 with attention fp16 is for TensorRT"):
        Choice.of(variant("nano"), "fp16", purpose="cpu")


@pytest.mark.parametrize(
    ("name", "keys", "attention"),
    [
        # (6 + 8) memories of 1024 tokens, and (15 + 8) pointers of 4 tokens
        ("efficienttam_ti_512", 14 * 1024 + 23 * 4, "fp16"),
        ("sam2.1_t", 14 * 4096 + 23 * 4, "bf16"),
        ("efficienttam_s_1", 14 * 1024 + 23 * 4, "fp16"),  # 1024 pixels, pooled
        ("edgetam", 14 * 512 + 23 * 4, "fp16"),
        ("sam3", 10 * 5184 + 19 * 4, "fp16"),  # 4 conditioning frames at most
        ("nano", 14 * 256 + 23 * 2, "fp16"),
    ],
)
def test_attention_is_fp16_where_the_keys_of_a_late_frame_are_few_enough(name: str, keys: int, attention: str) -> None:
    assert most_keys(variant(name)) == keys
    for precision in ("fp16", "bf16"):
        assert Choice.of(variant(name), precision).attention == attention
    assert Choice.of(variant(name), "fp32").attention == "fp32"
    assert Choice.of(variant(name), "fp16", "bf16").attention == "bf16", "what is said counts"


def test_every_variant_is_below_the_sum_that_fp16_can_hold_or_gets_bf16() -> None:
    for each in VARIANTS.values():
        assert most_keys(each) < 65_504 or Choice.of(each, "fp16").attention == "bf16"


def test_the_prompted_frames_are_those_that_a_server_keeps() -> None:
    assert config("memory_bank").parameters["max_conditioning"].string_value == str(CONDITIONING)


def test_the_scan_is_for_what_becomes_fp16() -> None:
    scanned = {(precision, attention): Choice(precision, attention, "tensorrt").scanned for precision in PRECISIONS for attention in PRECISIONS}
    assert [pair for pair, true in scanned.items() if not true] == [("fp32", "fp32"), ("fp32", "bf16"), ("bf16", "fp32"), ("bf16", "bf16")]


def test_an_older_manifest_is_read_as_what_it_was(tmp_path: Path) -> None:
    """fp32 engines for CPUs: there was nothing else."""
    made = Manifest.now(variant="nano", checkpoint={}, opset=17, tools={}, files={})
    made.write(tmp_path)
    values = json.loads((tmp_path / "manifest.json").read_text())
    for name in ("attention", "purpose", "kept_fp32", "vanishing", "differences"):
        del values[name]
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    assert Manifest.read(tmp_path) == made
    assert (made.precision, made.attention, made.purpose, made.kept_fp32) == ("fp32", "fp32", "cpu", ())


def test_a_manifest_keeps_what_stayed_fp32_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    made = Manifest.now(variant="nano", checkpoint={}, opset=17, tools={}, files={}, precision="fp16", attention="fp16", purpose="tensorrt")
    made = replace(made, kept_fp32=(KeptModule("mask_decoder", "a.b", 1e5, "too large"),), vanishing={"mask_decoder": {"a": 3}})
    made.write(tmp_path)
    assert Manifest.read(tmp_path) == made
    values = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**values, "novelty": 1}))
    with pytest.raises(TypeError, match="novelty"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["export", "nano", "--out", "unused", "--precision", "bf16", "--for", "cpu"],
            "is for TensorRT and PyTorch: on a CPU it is slower than fp32",
        ),
        (["evaluate", "nano", "--out", "unused", "--typed", "fp8"], "write TYPE or TYPE:ATTENTION"),
        (["evaluate", "nano", "--out", "unused", "--typed", "fp32"], "fp32 is what the others are compared with"),
        (["evaluate", "nano", "--out", "unused", "--typed", "fp16", "--precision", "bf16"], "Leave out --url, --engines and --precision"),
        (["evaluate", "sam2_t", "--out", "unused", "--typed", "fp16"], "--checkpoint is required for sam2_t"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert message in capsys.readouterr().err


def test_a_folder_without_images_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "engines"
    assert cli.main(["export", "nano", "--out", str(out), "--precision", "fp16", "--frames", str(tmp_path)]) == 1
    assert "has 0 images" in capsys.readouterr().err
    assert not out.exists()
