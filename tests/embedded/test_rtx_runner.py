"""Engines of TensorRT for RTX in the server's models: what the real classes are asked, what crosses, what is kept, what is said.

No GPU: classes, methods and arguments are NVIDIA's, what they do is tests/fakes/rtx_world.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorrt_rtx_bindings")

import tensorrt_rtx_bindings as trt

from masklet import TrackedFrame, Tracker
from masklet.families import NANO
from masklet_bank.service import Service
from masklet_build import nano
from masklet_build.check.subject import OnnxStages
from masklet_build.clips import bounding_box, inner_point, make_clip
from masklet_build.embedded.engine import Engine
from masklet_build.embedded.runners import OnnxRuntimeRunner
from masklet_build.in_process import InProcess
from masklet_build.models.samples import Sizes, sample_inputs
from tests.embedded.rtx import ENGINES, GPU, engine
from tests.fakes.rtx_world import Valid, Why, World

CALLS = (Sizes(), Sizes(V=2, B=3, F=7, P=16, N=4), Sizes(V=1, B=2, F=9, P=3, N=2), Sizes(V=2, B=2, F=7, P=16, N=2))


@pytest.mark.parametrize("name", list(ENGINES))
def test_a_call_gives_what_the_engine_computes_at_any_size(world: World, repository: Path, name: str) -> None:
    """One object, more, fewer again: memory grows, profiles change, and no answer is another call's. All from the host, as image_encoder's are."""
    run, plain = engine(repository, name), OnnxRuntimeRunner(nano.ENGINES / f"{name}.onnx", "fp32", 1, 1, "cpu")
    for sizes in CALLS:
        inputs = sample_inputs(name, NANO, sizes, seed=3)
        outputs = run(inputs)
        (wanted,) = plain([inputs])
        assert outputs.keys() == wanted.keys()
        for output, array in wanted.items():
            assert isinstance(outputs[output], np.ndarray)
            np.testing.assert_array_equal(outputs[output], array)


def test_an_engine_is_asked_for_what_a_server_needs(world: World, repository: Path) -> None:
    engine(repository, "memory_attention")
    config = world.configs["memory_attention"]
    assert config.dynamic_shapes_kernel_specialization_strategy is trt.DynamicShapesKernelSpecializationStrategy.LAZY
    assert config.cuda_graph_strategy is trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    config.set_execution_context_allocation_strategy.assert_called_once_with(trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE)
    assert world.cupy.cuda.device == 0
    assert world.cupy.cuda.current.ptr != 0, "the default queue makes TensorRT for RTX wait for the whole GPU"


def test_the_profile_is_changed_only_when_a_call_needs_another(world: World, repository: Path) -> None:
    run = engine(repository, "memory_attention")
    for frames in (7, 7, 9, 10, 2):
        run(sample_inputs("memory_attention", NANO, Sizes(F=frames, P=16), seed=1))
    assert [call.args[0] for call in world.contexts["memory_attention"].set_optimization_profile_async.call_args_list] == [0, 1, 0]


def test_tensors_keep_their_addresses_from_call_to_call_so_graphs_can_be_replayed(world: World, repository: Path) -> None:
    run = engine(repository, "memory_encoder")
    for sizes in (Sizes(V=2, B=3), Sizes(), Sizes(V=2, B=3), Sizes(V=1, B=2)):
        run(sample_inputs("memory_encoder", NANO, sizes, seed=1))
    addresses: dict[str, set[int]] = {}
    for call in world.contexts["memory_encoder"].set_tensor_address.call_args_list:
        addresses.setdefault(call.args[0], set()).add(call.args[1])
    assert {name: len(found) for name, found in addresses.items()} == dict.fromkeys(("EMBEDDING", "VIDEO", "LOW", "BINARISE", "MEMORY"), 1)


def test_what_lies_on_the_gpu_stays_there(world: World, stages: Any) -> None:
    """The bank's engines: only small arrays of the host cross, and they do so once; nothing comes back."""
    arrays, inputs = stages.arrays, sample_inputs("memory_attention", NANO, Sizes(B=2, F=7, P=16), seed=1)
    given = {name: array if name in ("VIDEO", "SLOT") else arrays.put(array) for name, array in inputs.items()}
    before, down = arrays.copied.to_device, world.cupy.to_host
    outputs = stages.call("memory_attention", arrays.send(given))
    assert arrays.copied.to_device - before == inputs["VIDEO"].nbytes + inputs["SLOT"].nbytes
    assert world.cupy.to_host == down
    (wanted,) = OnnxRuntimeRunner(nano.ENGINES / "memory_attention.onnx", "fp32", 1, 1, "cpu")([inputs])
    np.testing.assert_array_equal(arrays.get(outputs["CONDITIONED"]), wanted["CONDITIONED"])


def test_a_call_that_no_profile_holds_and_inputs_of_another_type_are_refused(world: World, repository: Path) -> None:
    run = engine(repository, "mask_prompt")
    inputs = sample_inputs("mask_prompt", NANO, Sizes(B=9), seed=0)
    with pytest.raises(Exception, match=r"mask_prompt was not built for a call of MASK \[9, 256, 256\].*masklet-build engine"):
        run(inputs)
    with pytest.raises(TypeError, match="MASK is float64, not uint8"):
        run({"MASK": inputs["MASK"][:1].astype(np.float64)})


def test_a_run_that_fails_is_told_in_the_words_of_tensorrt_and_the_next_one_goes_on(world: World, stages: Any, utils: ModuleType) -> None:
    world.runs, inputs = False, sample_inputs("mask_prompt", NANO, Sizes(), seed=0)
    with pytest.raises(Exception, match="mask_prompt failed: RtxError: mask_prompt: TensorRT for RTX does not run it: something was wrong"):
        stages.call("mask_prompt", inputs)
    assert ("ERROR", "TensorRT for RTX: something was wrong") in utils.Logger.lines
    world.runs = True
    assert stages.call("mask_prompt", inputs).keys() == {"MASK_PROMPT", "LOW", "PRESENT"}


def test_a_failure_without_a_word_is_not_told_with_the_reason_of_the_one_before(world: World, stages: Any) -> None:
    world.runs, inputs = False, sample_inputs("mask_prompt", NANO, Sizes(), seed=0)
    for says, told in (("something was wrong", "something was wrong"), ("", "it does not say why")):
        world.says = says
        with pytest.raises(Exception, match=f"TensorRT for RTX does not run it: {told}"):
            stages.call("mask_prompt", inputs)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        (Why.UNSUPPORTED_CC, "not built for this GPU's compute capability: build again: masklet-build engine VARIANT --rtx --sm"),
        (Why.VERSION_MISMATCH, "another version of TensorRT for RTX: install that of plans.json, or build again"),
        (Why.OLD_CUDA_DRIVER, "the driver is too old: install a newer one, R580"),
        (Why.OLD_CUDA_RUNTIME, "install the packages of TensorRT for RTX again"),
        (Why.INSUFFICIENT_GPU_MEMORY, "too little memory: build for smaller calls"),
        (Why.MALFORMED_ENGINE, "the file is damaged"),
        (Why.CUDA_ERROR, "look at nvidia-smi"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_engine_that_is_invalid_here_is_refused_in_words(world: World, repository: Path, flag: Any, says: str) -> None:
    world.validity = (Valid.INVALID, flag.value)
    with pytest.raises(Exception, match=says):
        engine(repository, "mask_prompt")


def test_every_reason_that_tensorrt_can_give_has_words() -> None:
    from masklet_build.embedded import rtx_engine

    assert set(rtx_engine._REASONS) == set(trt.EngineInvalidityDiagnostics.__members__.values())


def test_several_reasons_are_all_told(world: World, repository: Path) -> None:
    world.validity = (Valid.INVALID, Why.OLD_CUDA_DRIVER.value | Why.UNSUPPORTED_CC.value)
    with pytest.raises(Exception, match=r"cannot run here\. it was not built .*; the driver is too old"):
        engine(repository, "mask_prompt")


def test_an_engine_that_is_only_slower_here_is_warned_of_and_runs(world: World, stages: Any, utils: ModuleType, repository: Path) -> None:
    world.validity = (Valid.SUBOPTIMAL, 0)
    engine(repository, "mask_prompt")
    assert any(level == "WARNING" and "mask_prompt.plan may run slower here" in line for level, line in utils.Logger.lines)


def test_the_real_library_calls_a_damaged_file_damaged(tmp_path: Path) -> None:
    """Not the world's: that asks nothing of a GPU."""
    from masklet_build.embedded import rtx_engine

    (tmp_path / "engine.plan").write_bytes(bytes(200))
    with pytest.raises(rtx_engine.RtxError, match=r"engine\.plan cannot run here\. .*the file is damaged"):
        rtx_engine.load(tmp_path / "engine.plan")


@pytest.mark.parametrize(("fault", "says"), [("loads", "mask_prompt.plan is not loaded"), ("starts", "mask_prompt: not made ready")])
def test_an_engine_that_is_not_loaded_is_told_in_the_words_of_tensorrt(world: World, repository: Path, fault: str, says: str) -> None:
    setattr(world, fault, False)
    with pytest.raises(Exception, match=f"{says}: something was wrong"):
        engine(repository, "mask_prompt")


def test_the_log_says_which_engine_is_compiled_for_what_and_when_it_is_ready(world: World, stages: Any, utils: ModuleType) -> None:
    said = [line for level, line in utils.Logger.lines if level == "INFO"]
    for name in set(ENGINES) - {"image_encoder"}:
        begun = said.index(f"{name}: compiling kernels for {GPU}; none were kept, so this takes longest")
        assert said[begun + 1].startswith(f"{name}: ready for {GPU} after ")
    assert f"engines of memory_bank: tensorrt-rtx on cuda:0, {GPU}" in said


class OnTheGpu(InProcess):
    """The server's models in this process, the bank's arrays where its engines are; image_encoder between arrays of the host."""

    def __init__(self, stages: Any, encoder: Engine) -> None:
        super().__init__(NANO, self)
        self._inner, self._encoder, self.arrays = stages, encoder, stages.arrays
        bank = Service(self._bank.settings, self, arrays=stages.arrays)
        self._bank = SimpleNamespace(answer=lambda asked, respond: bank.answer([self._placed(one) for one in asked], respond))

    def _placed(self, asked: Any) -> Any:
        return replace(asked, features={name: self.arrays.put(array) for name, array in asked.features.items()})

    def call(self, engine: str, inputs: Any) -> Any:
        return self._encoder(inputs) if engine == "image_encoder" else self._inner.call(engine, inputs)


def life(transport: InProcess) -> list[TrackedFrame]:
    """Every kind of prompt, and frames enough for all memories and pointers."""
    clip = make_clip("test", 1, frames=18, height=256, width=256, objects=3)
    results = []
    with Tracker("nowhere", transport=transport) as tracker, tracker.open() as video:
        for index, frame in enumerate(clip.frames):
            if index == 0:
                video.prompt(1, points=[inner_point(clip.masks[0][0])])
                video.prompt(2, box=bounding_box(clip.masks[0][1]))
            if index in (4, 9):
                video.prompt(3, mask=clip.masks[index][2])
            results.append(video.track(frame, logits=True))
    return results


def test_a_clip_gets_the_masks_that_onnx_runtime_gives_to_the_last_bit(world: World, stages: Any, repository: Path) -> None:
    """ONNX Runtime computes here too: what is shown is that every tensor arrives, in the right memory, at the right time."""
    plain = OnnxStages({name: nano.ENGINES / f"{name}.onnx" for name in ENGINES})
    expected, found = life(InProcess(NANO, plain)), life(OnTheGpu(stages, engine(repository, "image_encoder")))
    assert sum(int(frame.masks.any(axis=(1, 2)).sum()) for frame in expected) > 30
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.masks, other.masks)
    assert {profile for profile, _ in world.calls["memory_attention"]} == {0, 1}
