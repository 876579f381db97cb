"""Assembly of a model repository: what is written, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from masklet import contract, families
from masklet_build.cli import main
from masklet_build.common import OutputExists
from masklet_build.manifest import Manifest
from masklet_build.models import variants
from masklet_build.repository.assemble import VENDORED, AssembleError, assemble

VARIANT = variants.variant("efficienttam_ti_512")


@pytest.fixture
def engines(tmp_path) -> Path:
    """A directory as `export` writes it; assembly does not look into the engines."""
    folder = tmp_path / "engines"
    folder.mkdir()
    files = {}
    for model in contract.engines(VARIANT):
        content = model.name.encode()
        (folder / f"{model.name}.onnx").write_bytes(content)
        files[f"{model.name}.onnx"] = hashlib.sha256(content).hexdigest()
    checkpoint = {"name": "some.pt", "sha256": "0123"}
    Manifest.now(variant=VARIANT.name, checkpoint=checkpoint, opset=17, tools={}, files=files).write(folder)
    return folder


def config(repository: Path, model: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def parameters(repository: Path, model: str) -> dict[str, str]:
    return {key: value.string_value for key, value in config(repository, model).parameters.items()}


def test_with_separate_engines_every_model_of_the_contract_is_there(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository", target="separate")
    assert {folder.name for folder in repository.iterdir()} == {model.name for model in contract.models(VARIANT)}
    for model in contract.engines(VARIANT):
        assert (repository / model.name / "1" / "engine.onnx").read_bytes() == model.name.encode()
        assert (repository / model.name / "1" / "model.py").is_file()
    assert not (repository / "memory_bank" / "1" / "engines").exists()


def test_embedded_engines_of_the_bank_lie_in_the_bank(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository")
    assert {folder.name for folder in repository.iterdir()} == {"tracker", "preprocess", "image_encoder", "memory_bank", "postprocess"}
    assert (repository / "image_encoder" / "1" / "engine.onnx").read_bytes() == b"image_encoder"
    inside = {file.name: file.read_bytes() for file in (repository / "memory_bank" / "1" / "engines").iterdir()}
    assert inside == {f"{name}.onnx": name.encode() for name in ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")}


def test_python_models_have_the_modules_that_they_import(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository")
    for model in ("preprocess", "memory_bank", "postprocess"):
        assert {path.stem for path in (repository / model / "1" / "masklet").iterdir()} == {"__init__", *VENDORED}
    script = "import sys; sys.path.insert(0, sys.argv[1]); import masklet_build.embedded.runners as runners; print(runners.__file__)"
    for model in ("image_encoder", "memory_bank"):
        folder = repository / model / "1"
        done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()) == folder / "masklet_build" / "embedded" / "runners.py"


def test_the_vendored_modules_need_nothing_of_an_installed_masklet(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository")
    folder = repository / "memory_bank" / "1"
    script = f"import sys; sys.path.insert(0, {str(folder)!r}); import masklet_bank.service, masklet; print(masklet.__file__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == folder / "masklet" / "__init__.py"


def test_the_bank_knows_what_it_serves(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository", precision="bf16")
    known = parameters(repository, "memory_bank")
    assert (known["variant"], known["checkpoint_sha256"], known["precision"]) == (VARIANT.name, "0123", "bf16")
    assert known["contract_version"] == str(contract.CONTRACT_VERSION)
    runs = {"runtime": "openvino", "precision": "bf16", "threads": "0"}
    assert runs.items() <= known.items()
    assert parameters(repository, "image_encoder") == runs
    separate = assemble(VARIANT.name, engines, tmp_path / "separate", target="separate", precision="bf16")
    assert parameters(separate, "mask_decoder") == runs
    assert "runtime" not in parameters(separate, "memory_bank")


def test_settings_change_limits_and_what_follows_from_them(engines, tmp_path):
    settings = {
        "memory_bank.max_videos": "3",
        "memory_bank.idle_seconds": "10",
        "preprocess.max_frame_side": "1000",
        "preprocess.max_mask_pixels": "5",
    }
    repository = assemble(VARIANT.name, engines, tmp_path / "repository", settings=settings)
    assert parameters(repository, "memory_bank")["max_videos"] == "3"
    assert parameters(repository, "preprocess")["max_frame_side"] == "1000"
    assert parameters(repository, "preprocess")["max_mask_pixels"] == "5"
    batching = config(repository, "memory_bank").sequence_batching
    assert batching.oldest.max_candidate_sequences == 16384
    assert batching.max_sequence_idle_microseconds == 600_000_000
    patient = assemble(VARIANT.name, engines, tmp_path / "patient", settings={"memory_bank.idle_seconds": "1000"})
    assert config(patient, "preprocess").sequence_batching.max_sequence_idle_microseconds == 4_000_000_000


def test_the_limit_of_state_follows_from_the_limits_of_the_bank_unless_it_is_set(engines, tmp_path):
    def limit(name: str, settings: dict[str, str]) -> int:
        return int(parameters(assemble(VARIANT.name, engines, tmp_path / name, settings=settings), "preprocess")["max_state_bytes"])

    assert limit("default", {}) == families.state_bytes(VARIANT, 48, 8, 64)
    few = {"memory_bank.max_objects": "2", "memory_bank.max_conditioning": "3", "memory_bank.max_points": "5"}
    assert limit("few", few) == families.state_bytes(VARIANT, 2, 3, 5)
    assert limit("own", {"preprocess.max_state_bytes": "12345"}) == 12345
    assert limit("no cap", {"memory_bank.max_conditioning": "0"}) == 2**31 - 1


def test_large_variants_take_fewer_objects_per_call(engines, tmp_path):
    small = assemble(VARIANT.name, engines, tmp_path / "small")
    manifest = json.loads((engines / "manifest.json").read_text())
    (engines / "manifest.json").write_text(json.dumps({**manifest, "variant": "efficienttam_ti"}))
    large = assemble("efficienttam_ti", engines, tmp_path / "large")
    assert int(parameters(small, "memory_bank")["max_engine_batch"]) > int(parameters(large, "memory_bank")["max_engine_batch"]) >= 1


def test_the_onnxruntime_target_uses_tritons_own_backend(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository", target="onnxruntime")
    for model in contract.engines(VARIANT):
        made = config(repository, model.name)
        assert (made.backend, made.default_model_filename) == ("onnxruntime", "model.onnx")
        assert (repository / model.name / "1" / "model.onnx").is_file()
        assert not (repository / model.name / "1" / "model.py").exists()


def test_a_batch_size_of_zero_is_written_out(engines, tmp_path):
    repository = assemble(VARIANT.name, engines, tmp_path / "repository", target="separate")
    assert "max_batch_size: 0" in (repository / "mask_decoder" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("change", "arguments", "match"),
    [
        (lambda folder: None, {"variant_name": "efficienttam_s_512"}, "holds engines of efficienttam_ti_512, not efficienttam_s_512"),
        (lambda folder: (folder / "manifest.json").unlink(), {}, "no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), {}, "cannot be read"),
        (lambda folder: replace(Manifest.read(folder), contract_version=7).write(folder), {}, "exported for contract 7.*Export again"),
        (lambda folder: (folder / "mask_decoder.onnx").write_bytes(b"other"), {}, "mask_decoder.onnx is missing or not the file"),
        (lambda folder: (folder / "mask_decoder.onnx").unlink(), {}, "mask_decoder.onnx is missing"),
        (lambda folder: replace(Manifest.read(folder), precision="fp16").write(folder), {}, "engines in fp16 .*, which are for TensorRT"),
        (lambda folder: None, {"precision": "bf16", "runtime": "onnxruntime"}, "bf16 needs"),
        (lambda folder: None, {"precision": "fp16"}, "fp16 is decided at export"),
        (lambda folder: None, {"settings": {"memory_bank.max_vids": "3"}}, "no parameter 'max_vids'. It has: .*max_videos"),
        (lambda folder: None, {"settings": {"bank.max_videos": "3"}}, "no such model. Models: .*memory_bank"),
    ],
    ids=["variant", "no manifest", "bad manifest", "contract", "other engine", "no engine", "typed", "precision", "fp16", "parameter", "model"],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(engines, tmp_path, change, arguments, match):
    change(engines)
    with pytest.raises(AssembleError, match=match):
        assemble(**{"variant_name": VARIANT.name, "engines": engines, "out": tmp_path / "repository", **arguments})
    assert [path.name for path in tmp_path.iterdir()] == ["engines"]


def test_what_stands_there_is_replaced_only_by_force(engines, tmp_path):
    out = assemble(VARIANT.name, engines, tmp_path / "repository")
    (out / "mine").write_text("keep")
    with pytest.raises(OutputExists, match="--force"):
        assemble(VARIANT.name, engines, out)
    assert (out / "mine").read_text() == "keep"
    assemble(VARIANT.name, engines, out, force=True)
    assert not (out / "mine").exists()


def test_force_never_replaces_what_assembly_did_not_write(engines, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("keep")
    with pytest.raises(OutputExists, match="something else"):
        assemble(VARIANT.name, engines, tmp_path / "home", force=True)
    assert (tmp_path / "home" / "thesis").read_text() == "keep"


def test_a_mount_point_is_refused_before_the_work(engines):
    """A whole directory cannot take its place: the last step would fail."""
    with pytest.raises(OutputExists, match=r"/dev/shm is a mount point.* Name one below it: /dev/shm/new"):
        assemble(VARIANT.name, engines, Path("/dev/shm"))


def test_the_command_says_what_to_do_next(engines, tmp_path, capsys):
    out = str(tmp_path / "repository")
    assert main(["assemble", VARIANT.name, "--engines", str(engines), "--out", out, "--set", "memory_bank.max_videos=3"]) == 0
    assert f"masklet-build serve {out}" in capsys.readouterr().out
    assert main(["assemble", VARIANT.name, "--engines", str(engines), "--out", out]) == 1
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--set", "nonsense"], ["--set", "memory_bank.max_videos"]])
def test_a_setting_that_is_not_one_is_refused(engines, tmp_path, capsys, words):
    assert main(["assemble", VARIANT.name, "--engines", str(engines), "--out", str(tmp_path / "repository"), *words]) == 1
    assert "MODEL.PARAMETER=VALUE" in capsys.readouterr().err


def test_a_missing_variant_is_named(capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["assemble", "efficienttam_xl", "--engines", str(tmp_path), "--out", str(tmp_path / "repository")])
    assert caught.value.code == 2
    assert "efficienttam_ti_512" in capsys.readouterr().err


def test_variants_lists_every_variant_with_its_checkpoint(capsys):
    assert main(["variants"]) == 0
    printed = capsys.readouterr().out
    for variant in families.VARIANTS.values():
        assert variant.name in printed
        assert variant.checkpoint in printed


def test_the_command_takes_reduced_variants_and_names_the_known_ones_for_others(engines, tmp_path, capsys):
    """No engines of a shallow SAM 3 are there, but its name is understood."""
    assert main(["assemble", "sam3:4", "--engines", str(engines), "--out", str(tmp_path / "repository")]) == 1
    assert "not sam3:4" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["assemble", "nobody", "--engines", str(engines), "--out", str(tmp_path / "repository")])
    assert "unknown variant 'nobody'. Known: efficienttam_ti_512" in capsys.readouterr().err
