"""How PyTorch runs a program: exactly, on a device that is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from masklet_build.embedded import torch_runner  # noqa: E402
from masklet_build.embedded.torch_runner import TorchRunner, chosen_device, compute_exactly  # noqa: E402
from tests.embedded.tiny_engines import attention_engine  # noqa: E402

pytestmark = pytest.mark.torch


def test_nothing_is_computed_in_less_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, matmul, cudnn = torch.get_num_threads(), torch.backends.cuda.matmul, torch.backends.cudnn
    torch.set_float32_matmul_precision("high")
    cudnn.allow_tf32 = matmul.allow_tf32 = True
    matmul.allow_fp16_reduced_precision_reduction = matmul.allow_bf16_reduced_precision_reduction = True
    try:
        compute_exactly(1)
        assert torch.get_num_threads() == 1
        assert torch.get_float32_matmul_precision() == "highest"
        assert [matmul.allow_tf32, cudnn.allow_tf32] == [False, False]
        assert [matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction] == [False, False]
        assert cudnn.deterministic
    finally:
        torch.set_num_threads(threads)


def test_outputs_lie_where_inputs_lay(tmp_path: Path) -> None:
    attention_engine(tmp_path / "engine", 1, "torch")
    runner = TorchRunner(tmp_path / "engine.pt2", "fp32", 1, 1, "cpu")
    memory = np.zeros((2, 3, 2, 3), np.float32)
    (on_host,), (on_device,) = runner([{"MEMORY": memory}]), runner([{"MEMORY": torch.from_numpy(memory)}])
    assert isinstance(on_host["CONDITIONED"], np.ndarray)
    assert isinstance(on_device["CONDITIONED"], torch.Tensor)
    np.testing.assert_array_equal(on_host["CONDITIONED"], memory + 1)


def test_a_memory_of_one_frame_has_its_own_program_where_there_is_one(tmp_path: Path) -> None:
    attention_engine(tmp_path / "engine", 1, "torch")
    attention_engine(tmp_path / "other", 5, "torch")
    (tmp_path / "other.pt2").rename(tmp_path / "engine.one_frame.pt2")
    runner = TorchRunner(tmp_path / "engine.pt2", "fp32", 1, 1, "cpu")
    for frames, added in ((1, 5), (2, 1), (7, 1), (1, 5)):
        (out,) = runner([{"MEMORY": np.zeros((2, frames, 2, 3), np.float32)}])
        assert out["CONDITIONED"].shape == (2, frames, 2, 3)
        assert (out["CONDITIONED"] == added).all()


@pytest.mark.parametrize(
    ("name", "gpus", "chosen"), [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1")]
)
def test_a_device_is_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, chosen: str) -> None:
    monkeypatch.setattr(torch_runner.torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch_runner.torch.cuda, "device_count", lambda: gpus)
    assert chosen_device(name) == torch.device(chosen)


@pytest.mark.parametrize(("name", "gpus"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_refused_with_what_is(monkeypatch: pytest.MonkeyPatch, name: str, gpus: int) -> None:
    monkeypatch.setattr(torch_runner.torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch_runner.torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match=rf"device '{name}', but torch .* sees {gpus} GPUs.*pip install torch"):
        chosen_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "", "cpu:0", "CUDA"])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="use auto, cpu, cuda"):
        chosen_device(name)


def test_a_program_that_torch_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "engine.pt2").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"cannot read .*engine\.pt2: .*Install the torch that manifest\.json names"):
        TorchRunner(tmp_path / "engine.pt2", "fp32", 1, 1, "cpu")
