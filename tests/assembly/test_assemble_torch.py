"""Assembly for PyTorch: programs and what runs them, and only where they belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from masklet_build.cli import main
from masklet_build.manifest import Manifest, file_sha256
from masklet_build.models import variants
from masklet_build.repository.assemble import AssembleError, assemble, read_config
from tests.assembly.standins import engines_of

VARIANT = variants.variant("efficienttam_ti_1")
IN_THE_BANK = ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Programs as `export --for torch` writes them, of a variant with one more."""
    folder = engines_of(VARIANT, tmp_path / "programs", purpose="torch", precision="bf16")
    (folder / "memory_attention.one_frame.pt2").write_bytes(b"one frame")
    files = {path.name: file_sha256(path) for path in folder.glob("*.pt2")}
    known = Manifest.read(folder)
    Manifest.now(variant=known.variant, checkpoint=known.checkpoint, opset=0, tools={}, files=files, precision="bf16", purpose="torch").write(folder)
    return folder


def parameters(repository: Path, model: str) -> dict[str, str]:
    return {key: value.string_value for key, value in read_config(repository / model).parameters.items()}


def test_programs_lie_where_they_run_each_under_the_name_that_it_is_looked_up_by(programs, tmp_path):
    repository = assemble(VARIANT.name, programs, tmp_path / "repository", runtime="torch")
    inside = {file.name: file.read_bytes() for file in (repository / "memory_bank" / "1" / "engines").iterdir()}
    assert inside == {f"{name}.pt2": name.encode() for name in IN_THE_BANK} | {"memory_attention.one_frame.pt2": b"one frame"}
    assert {file.name for file in (repository / "image_encoder" / "1").iterdir()} == {"engine.pt2", "model.py", "masklet", "masklet_build"}
    separate = assemble(VARIANT.name, programs, tmp_path / "separate", target="separate", runtime="torch")
    assert (separate / "memory_attention" / "1" / "engine.one_frame.pt2").read_bytes() == b"one frame"


def test_the_models_know_device_and_precision(programs, tmp_path):
    repository = assemble(VARIANT.name, programs, tmp_path / "repository", runtime="torch", device="cuda:1")
    runs = {"runtime": "torch", "precision": "bf16", "threads": "0", "device": "cuda:1"}
    assert parameters(repository, "image_encoder") == runs
    assert runs.items() <= parameters(repository, "memory_bank").items()


def test_what_runs_programs_is_beside_the_models_and_is_imported_without_torch(programs, tmp_path):
    repository = assemble(VARIANT.name, programs, tmp_path / "repository", runtime="torch")
    script = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, sys.argv[1]); import masklet_build.embedded.engine as engine; "
        "print(engine.__file__)"
    )
    for model in ("image_encoder", "memory_bank"):
        folder = repository / model / "1"
        done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()).parent == folder / "masklet_build" / "embedded"
        assert {"torch_runner.py", "torch_arrays.py", "cuda_graphs.py"} <= {path.name for path in Path(done.stdout.strip()).parent.iterdir()}


def test_programs_and_onnx_engines_are_not_mistaken_for_each_other(programs, tmp_path):
    for arguments in ({}, {"runtime": "onnxruntime"}, {"target": "onnxruntime"}):
        with pytest.raises(AssembleError, match=r"holds PyTorch programs, which .* does not run. Make others: .* --for cpu .*--runtime torch"):
            assemble(VARIANT.name, programs, tmp_path / "repository", **arguments)
    onnx = engines_of(VARIANT, tmp_path / "onnx")
    with pytest.raises(AssembleError, match=r"holds ONNX engines, which torch does not run. Make others: masklet-build export .* --for torch"):
        assemble(VARIANT.name, onnx, tmp_path / "repository", runtime="torch")
    assert not (tmp_path / "repository").exists()


def test_another_precision_than_that_of_the_programs_is_refused(programs, tmp_path):
    with pytest.raises(AssembleError, match=r"programs that compute in bf16\. Leave out --precision, or export with --precision fp32"):
        assemble(VARIANT.name, programs, tmp_path / "repository", runtime="torch", precision="fp32")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_the_command_takes_devices(programs, tmp_path, device):
    assert main(command(programs, tmp_path, device)) == 0
    assert parameters(tmp_path / "repository", "image_encoder")["device"] == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "0"])
def test_the_command_says_which_devices_there_are(programs, tmp_path, capsys, device):
    with pytest.raises(SystemExit) as caught:
        main(command(programs, tmp_path, device))
    assert caught.value.code == 2
    assert f"'{device}' is none of auto, cpu, cuda, nor one of several GPUs, as cuda:1 is" in capsys.readouterr().err


def command(programs: Path, folder: Path, device: str) -> list[str]:
    return ["assemble", VARIANT.name, "--engines", str(programs), "--out", str(folder / "repository"), "--runtime", "torch", "--device", device]
