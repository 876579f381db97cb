"""What the real compiler refuses, and how that is told: with its own words, and advice only where it can help."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from masklet import contract
from masklet.families import NANO
from masklet_build import nano
from masklet_build.engines.builder import Built, build
from masklet_build.engines.callbacks import Log
from masklet_build.engines.compilers import TensorRTForRTX
from masklet_build.engines.plans import BuildError, Settings
from masklet_build.export.profiles import Limits, profiles
from tests.plans.stubs import compile_driver

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parents[2]

(MODEL,) = (model for model in contract.engines(NANO) if model.name == "mask_prompt")
TABLE = profiles(NANO, Limits.of(NANO), wide=True)[MODEL.name]


def compiled(folder: Path, *, settings: Settings | None = None, targets: tuple[str, ...] = ("8.9",), spoil: object = None) -> Built:
    """Builds mask_prompt, from a graph that `spoil` changed."""
    model = onnx.load(nano.ENGINES / "mask_prompt.onnx")
    if spoil is not None:
        assert callable(spoil)
        spoil(model.graph)
    onnx.save(model, folder / "mask_prompt.onnx")
    return build(TensorRTForRTX(targets), MODEL, NANO, folder / "mask_prompt.onnx", TABLE, settings or Settings(), b"", folder / "said.log")


def refusal(folder: Path, **arguments: object) -> str:
    with redirect_stderr(io.StringIO()), pytest.raises(BuildError) as refused:
        compiled(folder, **arguments)
    assert "TensorRT for RTX" in str(refused.value)
    return str(refused.value)


def mixed(graph: onnx.GraphProto) -> None:
    """Plants a sum of two types."""
    first = next(node for node in graph.node if node.op_type == "Cast")
    graph.node.append(helper.make_node("Cast", [first.output[0]], ["half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Add", [first.output[0], "half"], ["sum"], name="/planted"))
    graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))


def renamed(graph: onnx.GraphProto) -> None:
    """Gives the input another name than the contract's."""
    for node in graph.node:
        node.input[:] = ["OTHER" if name == "MASK" else name for name in node.input]
    graph.input[0].name = "OTHER"


def test_other_tensors_than_the_contracts_are_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"is not the mask_prompt of masklet\.contract: it has OTHER instead of MASK\. Export again"):
        compiled(tmp_path, spoil=renamed)


def test_too_little_memory_is_told_with_what_gives_more(tmp_path: Path) -> None:
    text = refusal(tmp_path, settings=Settings(workspace_gib=2**-20))
    assert "no tactics to implement the operation within workspace limit" in text
    assert "allow fewer objects or videos per call (--objects, --videos), or give more --workspace-gib." in text
    assert str(tmp_path / "said.log") in text


def test_turing_is_refused_for_the_reason_that_the_command_gives_and_without_advice_about_memory(tmp_path: Path) -> None:
    text = refusal(tmp_path, targets=("7.5",))
    assert "FP32 GEMM is not supported" in text
    assert "--objects" not in text


def test_a_driver_that_is_of_no_use_is_not_told_as_a_reason(tmp_path: Path) -> None:
    """No GPU takes part: whether there is no driver or an old one, as the stand-in is to NVIDIA's library, says nothing of the graph."""
    compile_driver(tmp_path)
    script = "import sys, pathlib, tests.plans.test_rtx_refusals as here; here.compiled(pathlib.Path(sys.argv[1]), spoil=here.mixed)"
    with_driver = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script, tmp_path], env=with_driver, cwd=ROOT, capture_output=True, text=True)
    assert "(cudaError 36" in (tmp_path / "said.log").read_text(), "else this says nothing"
    assert "must have same input types" in done.stderr.rpartition("BuildError: ")[2]
    assert "CUDA" not in done.stderr.rpartition("BuildError: ")[2]


def test_every_refusal_names_the_log(tmp_path: Path) -> None:
    for spoil in (mixed, renamed):
        with pytest.raises(BuildError, match=f"{tmp_path}/said.log"):
            compiled(tmp_path, spoil=spoil)


def test_ctrl_c_while_a_graph_is_read_stops_the_build_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a line of the log, where a KeyboardInterrupt would be lost in NVIDIA's bindings."""
    add, lines = Log.add, []

    def interrupted(log: Log, severity: str, text: str) -> None:
        add(log, severity, text)
        lines.append(text)
        if len(lines) == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Log, "add", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        compiled(tmp_path)
    assert not any("Constructing optimization profile" in line for line in lines[:5]), "the graph was still read"
    assert not any("Total Activation Memory" in line for line in lines), "no plan was finished"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        build(TensorRTForRTX(("8.9",)), MODEL, NANO, nano.ENGINES / "mask_prompt.onnx", TABLE, Settings(), b"", Path("/dev/full"))
    assert "No space" not in "".join(capfd.readouterr()), "by NVIDIA's bindings, at every line"


def test_a_build_after_a_refused_one_is_as_any_other(tmp_path: Path) -> None:
    """The refused one's builder still lives, as long as somebody holds the error."""
    with pytest.raises(BuildError) as refused:
        compiled(tmp_path, spoil=mixed)
    assert compiled(tmp_path).warnings == ()
    assert refused.value.__traceback__ is not None


def test_a_plan_of_which_nothing_more_is_known_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklet_build.engines.kernels._MEMORY", re.compile("(never)(said)"))
    built = compiled(tmp_path)
    assert len(built.plan) > 100_000
    assert (built.kernels, built.memory) == ((), ())
    assert built.warnings == ("masklet-build could not read what the plan is made of: the log tells the activation memory of 0 profiles, not of 1",)
