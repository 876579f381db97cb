"""Who may import whom. The rules keep the client light, the server free of torch and the memory bank ours alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDARD = frozenset(sys.stdlib_module_names)
SHARED = frozenset({"masklet.contract", "masklet.families", "masklet.errors", "masklet.wire", "masklet.rle", "masklet.mask_bytes"})
SERVER = SHARED | {"masklet.envelope", "masklet.stage"}  # the python models of the server
GRPC = frozenset({"grpc", "google", "tritonclient"})
NEVER = ("tests", "benchmarks", "fakes", "serving", "build", "client")


@dataclass(frozen=True)
class Rule:
    """Files (glob below the root, without those that another rule names) and what they may import besides the standard library.

    A package stands for all its modules.
    """

    files: str
    allowed: frozenset[str]
    but: tuple[str, ...] = ()


MODEL = frozenset({"triton_python_backend_utils"})
ONNX = frozenset({"onnx", "numpy"})
CLIENT = "client/src/masklet"
RULES = [
    *(Rule(f"{CLIENT}/{name.removeprefix('masklet.')}.py", SHARED | {"numpy"}) for name in sorted(SHARED - {"masklet.families"})),
    Rule(f"{CLIENT}/envelope.py", SHARED),
    Rule(f"{CLIENT}/stage.py", SHARED | {"masklet.envelope", "numpy"}),
    Rule(f"{CLIENT}/families/*.py", frozenset({"masklet.families"})),
    Rule(f"{CLIENT}/grpc_*.py", frozenset({"masklet", "numpy"}) | GRPC),
    Rule(f"{CLIENT}/cli/**/*.py", frozenset({"masklet", "numpy", "av", "PIL", "tqdm"})),
    Rule(f"{CLIENT}/**/*.py", frozenset({"masklet", "numpy"}), but=("grpc_", "/cli/")),
    Rule("model_repository/memory_bank/1/masklet_bank/**/*.py", SHARED | {"masklet.envelope"} - {"masklet.rle"} | {"masklet_bank", "numpy", "cupy"}),
    # Policies know frame numbers and scores, what is stored knows no policy but its words.
    Rule("model_repository/memory_bank/1/masklet_bank/policies/*.py", frozenset({"masklet.families", "masklet_bank.policies"})),
    Rule("model_repository/memory_bank/1/masklet_bank/bank.py", frozenset({"masklet_bank.arrays", "masklet_bank.policies.official", "numpy"})),
    Rule("model_repository/preprocess/1/masklet_preprocess/**/*.py", SHARED | {"masklet.envelope"} | {"masklet_preprocess", "numpy", "PIL"}),
    Rule("model_repository/postprocess/1/masklet_postprocess/**/*.py", SHARED | {"masklet.envelope"} | {"masklet_postprocess", "numpy", "PIL"}),
    Rule("model_repository/memory_bank/1/masklet_triton/*.py", SHARED | MODEL | {"masklet_bank", "masklet_build.embedded", "numpy"}),
    Rule("model_repository/memory_bank/1/model.py", SERVER | MODEL | {"masklet_bank", "masklet_triton", "numpy"}),
    *(
        Rule(f"model_repository/{model}/1/model.py", SERVER | MODEL | {package, "numpy"})
        for model, package in (("preprocess", "masklet_preprocess"), ("postprocess", "masklet_postprocess"))
    ),
    # They run in Triton's python environment, with nothing of masklet but what is vendored beside them.
    Rule("build/src/masklet_build/embedded/model.py", SERVER | MODEL | {"masklet_build.embedded", "numpy"}),
    Rule(
        "build/src/masklet_build/embedded/*.py",
        frozenset({"masklet_build.embedded", "numpy", "openvino", "onnxruntime"}),
        but=("/model.py", "/torch_", "/cuda_"),
    ),
    Rule("build/src/masklet_build/embedded/torch_*.py", frozenset({"masklet_build.embedded", "numpy", "torch"})),
    Rule("build/src/masklet_build/embedded/cuda_graphs.py", frozenset({"torch"})),
    Rule(
        "build/src/masklet_build/serve/**/*.py",
        frozenset({"masklet_build.serve", "masklet_build.machine", "masklet", "numpy", "google", "tritonclient"}),
    ),
    Rule("build/src/masklet_build/clips/**/*.py", frozenset({"masklet_build.clips", "numpy", "PIL"})),
    Rule("build/src/masklet_build/quality/**/*.py", frozenset({"masklet", "masklet_build", "numpy", "tritonclient", "PIL"})),
    Rule("build/src/masklet_build/selftest/*.py", frozenset({"masklet", "masklet_build", "numpy", "PIL"}), but=("record.py",)),
    Rule("build/src/masklet_build/selftest/record.py", frozenset({"masklet", "masklet_build", "numpy", "torch"})),
    Rule("build/src/masklet_build/train/**/*.py", frozenset({"masklet", "masklet_build", "torch", "matplotlib"})),
    # Copies files and writes configs, on any machine.
    Rule(
        "build/src/masklet_build/assembly/*.py",
        frozenset({"masklet_build.assembly", "masklet_build.manifest", "masklet", "google", "tritonclient"})
        | {"masklet_build.tensorrt.plans", "masklet_build.tensorrt.profiles"},
    ),
    Rule(
        "build/src/masklet_build/lint/*.py", frozenset({"masklet", "masklet_build.lint", "masklet_build.manifest", "masklet_build.onnx_files"}) | ONNX
    ),
    Rule("build/src/masklet_build/typed/*.py", frozenset({"masklet", "masklet_build", "torch", "onnxruntime", "PIL"}) | ONNX),
    Rule("build/src/masklet_build/typed/choice.py", frozenset({"masklet.families"})),
    Rule("build/src/masklet_build/typed/frames.py", frozenset({"numpy"})),
    Rule("build/src/masklet_build/hugging_face/*.py", frozenset({"masklet_build.hugging_face", "torch"})),
    Rule("build/src/masklet_build/download/*.py", frozenset({"masklet", "masklet_build", "urllib3", "tqdm"})),
    Rule("build/src/masklet_build/tensorrt/*.py", frozenset({"masklet", "masklet_build", "numpy", "tensorrt", "tqdm"})),
    Rule("build/src/masklet_build/machine.py", frozenset()),
    Rule("benchmarks/load/*.py", frozenset({"load", "masklet", "masklet_build", "numpy", "PIL"}), but=("gevent_cameras", "async_process")),
    Rule("benchmarks/failover/*.py", frozenset({"failover", "report", "masklet", "masklet_build", "numpy", "yaml"})),
    Rule(
        "benchmarks/fuzz/**/*.py",
        frozenset(
            {"failover.films", "footprint", "fuzz", "report", "supervised", "masklet", "masklet_build", "numpy", "PIL", "grpc", "tritonclient"}
        ),
    ),
    Rule("build/setup_env.py", frozenset({"masklet_build.machine", "debian_programs"})),
    Rule("build/debian_programs.py", frozenset()),
    Rule("docker/entrypoint.py", frozenset()),
    Rule("docker/observability/*.py", frozenset({"yaml"})),
]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each import; `from package import name` counts as package.name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide from this test"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def violations(rule: Rule, root: Path = ROOT) -> list[str]:
    found = []
    for path in sorted(root.glob(rule.files)):
        place = path.relative_to(root).as_posix()
        if not any(word in place for word in rule.but):
            found += [f"{place}:{line} imports {name}" for line, name in imports(path) if not within(name, STANDARD | rule.allowed)]
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.files)
def test_files_import_only_what_they_may(rule: Rule) -> None:
    assert list(ROOT.glob(rule.files)), f"no file matches {rule.files}: a rule without files guards nothing"
    assert violations(rule) == []


def test_nothing_imports_tests_benchmarks_or_a_folder_name() -> None:
    """`build` and `client` are folders of distributions; importing them works or not depending on where Python is started."""
    sources = [path for folder in ("client/src", "build/src", "model_repository") for path in (ROOT / folder).rglob("*.py")]
    assert [f"{path}:{line}" for path in sources for line, name in imports(path) if name.split(".")[0] in NEVER] == []


def test_a_forbidden_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def late():\n    from torch.nn import functional\n")
    assert violations(Rule("*.py", frozenset({"numpy"})), tmp_path) == ["one.py:2 imports torch.nn.functional"]


def circle(package: Path) -> list[str]:
    """Modules of a package that import one another in a circle."""
    files = {".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in package.rglob("*.py")}
    arrows: dict[str, set[str]] = {}
    for module, path in files.items():
        found = (max((other for other in files if within(name, frozenset({other}))), key=len, default=module) for _, name in imports(path))
        arrows[module] = {*found} - {module}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", sorted(ROOT.glob("model_repository/*/1/masklet_*")), ids=lambda package: package.name)
def test_the_modules_of_a_model_import_one_another_in_no_circle(package: Path) -> None:
    assert circle(package) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "three"), ("three", "one"), ("four", "one")):
        (tmp_path / f"{name}.py").write_text(f"from {tmp_path.name}.{other} import it\n")
    assert len(circle(tmp_path)) == 4, "the first again at the end"


@pytest.mark.parametrize(
    "module",
    ["masklet_build.serve", "masklet_build.assemble", "masklet_build.cli", "masklet_build.quality.report", "masklet_build.selftest.run"],
)
def test_serving_works_without_what_exports(module: str) -> None:
    _run(f"import sys; sys.modules['torch'] = sys.modules['onnx'] = None; import {module}")


def test_the_command_starts_without_what_downloads_need() -> None:
    _run("import sys; sys.modules['urllib3'] = sys.modules['tqdm'] = None; import masklet_build.cli")


@pytest.mark.parametrize("module", ["command", "folder", "plans", "profiles", "runtime"])
def test_everything_about_plans_but_making_and_running_them_works_without_tensorrt(module: str) -> None:
    _run(f"import sys; sys.modules['tensorrt'] = sys.modules['torch'] = None; import masklet_build.tensorrt.{module}")


def test_importing_the_client_loads_no_grpc() -> None:
    """Its types, the mask codec and the mock are useful where gRPC is not installed, and the import is fast."""
    _run("import sys; sys.modules['grpc'] = sys.modules['tritonclient'] = None; import masklet")


def _run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
