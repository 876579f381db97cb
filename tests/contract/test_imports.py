"""Who may import whom. The rules keep the client light, the server free of torch and the memory bank ours alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDARD = frozenset(sys.stdlib_module_names)
SHARED = frozenset({"masklet.contract", "masklet.families", "masklet.errors", "masklet.wire", "masklet.rle", "masklet.mask_bytes"})
PACKAGES = {"masklet.contract", "masklet.families"}
SERVER = SHARED | {"masklet.envelope", "masklet.heap", "masklet.stage"}  # the python models of the server
GRPC = frozenset({"grpc", "google", "tritonclient"})
NEVER = ("tests", "benchmarks", "build", "client")


@dataclass(frozen=True)
class Rule:
    """Files (glob below the root, without those that another rule names) and what they may import besides the standard library.

    A package stands for all its modules.
    """

    files: str
    allowed: frozenset[str]
    but: tuple[str, ...] = ()


MODEL = frozenset({"triton_python_backend_utils"})
NUMPY = frozenset({"numpy"})
ONNX = frozenset({"onnx", "numpy"})
TENSORRT = frozenset({"tensorrt", "tqdm"})
PROTOBUF = frozenset({"google", "tritonclient"})

BUILDER = "build/src/masklet_build"
VARIANTS = frozenset({"masklet_build.models.variants"})  # names and numbers
# What every station of masklet_build may stand on, and what of other packages each of it imports.
GROUND = {
    "common.py": VARIANTS,
    "manifest.py": frozenset(),
    "in_process.py": NUMPY | PROTOBUF | {"masklet_bank", "masklet_preprocess", "masklet_postprocess"},
    "nano/*.py": VARIANTS,
    "clips/**/*.py": NUMPY | {"PIL"},
}
# The stations of masklet_build, from a checkpoint to a running server and what is asked of it: each imports from those before it only.
TOWER = {
    "models": NUMPY | {"torch"},
    "checkpoints": NUMPY | {"torch", "safetensors", "urllib3", "tqdm"},
    "export": ONNX | {"torch", "onnxruntime", "PIL"},
    "engines": NUMPY | TENSORRT,
    "repository": PROTOBUF,
    "serve": NUMPY | PROTOBUF,
    "quality": NUMPY | PROTOBUF | {"torch", "PIL"},
    "check": NUMPY | {"PIL"},
    "explain": NUMPY | {"torch", "PIL"},
}


def standing_on(floor: int) -> frozenset[str]:
    """What the station with so many before it may import of ours: itself and all that is below."""
    ground = ("common", "manifest", "in_process", "nano", "clips", "embedded")
    return frozenset({"masklet", *(f"masklet_build.{name}" for name in (*ground, *list(TOWER)[:floor]))})


CLIENT = "client/src/masklet"
RULES = [
    *(Rule(f"{CLIENT}/{name.removeprefix('masklet.')}.py", SHARED | {"numpy"}) for name in sorted(SHARED - PACKAGES)),
    Rule(f"{CLIENT}/contract/*.py", frozenset({"masklet.contract", "masklet.families", "numpy"})),
    Rule(f"{CLIENT}/envelope.py", SHARED),
    Rule(f"{CLIENT}/heap.py", frozenset()),
    Rule(f"{CLIENT}/stage.py", SHARED | {"masklet.envelope", "masklet.heap", "numpy"}),
    Rule(f"{CLIENT}/families/*.py", frozenset({"masklet.families"})),
    Rule(f"{CLIENT}/transport/grpc_*.py", frozenset({"masklet", "numpy"}) | GRPC),
    Rule(f"{CLIENT}/cli/**/*.py", frozenset({"masklet", "numpy", "av", "PIL", "tqdm"})),
    Rule(f"{CLIENT}/sources/*.py", frozenset({"masklet.sources", "masklet.errors", "numpy"})),
    Rule(f"{CLIENT}/**/*.py", frozenset({"masklet", "numpy"}), but=("grpc_", "/cli/")),
    Rule(
        "model_repository/memory_bank/1/masklet_bank/**/*.py",
        SHARED | {"masklet.envelope"} - {"masklet.rle"} | {"masklet_bank", "numpy", "cupy"},
        but=("/cleaning.py",),
    ),
    Rule("model_repository/memory_bank/1/masklet_bank/cleaning.py", frozenset({"masklet.families", "masklet_bank.arrays", "numpy", "scipy"})),
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
        but=("/model.py", "/torch_", "/cuda_", "/rtx_"),
    ),
    Rule(
        "build/src/masklet_build/embedded/rtx_*.py",
        frozenset({"masklet_build.embedded", "numpy", "tensorrt_rtx_bindings", "cupy"}),
        but=("/rtx_machine.py",),
    ),
    # It says what is missing, so it imports none of it.
    *(Rule(f"build/src/masklet_build/embedded/{name}.py", frozenset({"masklet_build.embedded"})) for name in ("gpu", "kernel_cache", "rtx_machine")),
    Rule("build/src/masklet_build/embedded/torch_*.py", frozenset({"masklet_build.embedded", "numpy", "torch"})),
    Rule("build/src/masklet_build/embedded/cuda_graphs.py", frozenset({"torch"})),
    *(Rule(f"{BUILDER}/{name}", standing_on(0) | allowed) for name, allowed in GROUND.items()),
    *(Rule(f"{BUILDER}/{station}/**/*.py", standing_on(floor) | allowed) for floor, (station, allowed) in enumerate(TOWER.items(), 1)),
    # Fewer, where a floor has parts that run or are installed alone.
    Rule(f"{BUILDER}/checkpoints/hugging_face/*.py", frozenset({"masklet_build.checkpoints.hugging_face", "torch"})),
    Rule(f"{BUILDER}/checkpoints/download/*.py", frozenset({"masklet", "masklet_build", "urllib3", "tqdm"})),
    Rule(f"{BUILDER}/export/precision/choice.py", frozenset({"masklet.families"})),
    Rule(f"{BUILDER}/export/precision/frames.py", NUMPY),
    Rule(
        f"{BUILDER}/export/lint/*.py",
        frozenset({"masklet", "masklet_build.common", "masklet_build.manifest", "masklet_build.export"}) | VARIANTS | ONNX,
    ),
    Rule(f"{BUILDER}/serve/machine.py", frozenset()),
    Rule("build/train_nano/*.py", frozenset({"train_nano", "masklet", "masklet_build", "torch", "matplotlib"})),
    Rule(
        "benchmarks/load/*.py",
        frozenset({"benchmarks.load", "benchmarks.report", "masklet", "masklet_build", "numpy", "PIL"}),
        but=("gevent_cameras", "async_process"),
    ),
    Rule(
        "benchmarks/fuzz/**/*.py",
        frozenset(
            {"benchmarks.films", "benchmarks.footprint", "benchmarks.fuzz", "benchmarks.report", "benchmarks.supervised", "benchmarks.RESULTS"}
            | {"masklet", "masklet_build", "numpy", "PIL", "grpc", "tritonclient"}
        ),
    ),
    Rule(
        "benchmarks/soak/*.py",
        frozenset({f"benchmarks.{name}" for name in ("films", "footprint", "fuzz", "report", "soak", "steady", "supervised", "RESULTS", "ROOT")})
        | {"tests.failover", "masklet", "masklet_build", "numpy", "grpc", "tritonclient"},
    ),
    Rule("build/setup_env.py", frozenset({"machine", "debian_programs"})),
    Rule("build/debian_programs.py", frozenset()),
    Rule(f"{BUILDER}/serve/triton_options.py", frozenset()),
    Rule("docker/entrypoint.py", frozenset({"triton_options"})),
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


def test_every_folder_of_the_builder_is_a_station_or_ground() -> None:
    """So that a new one gets its place, and a rule, before it can import anything."""
    root = ROOT / BUILDER
    assert {path.parent.name for path in root.glob("*/__init__.py")} == {*TOWER, "clips", "embedded", "nano"}
    assert {path.name for path in root.glob("*.py")} == {"__init__.py", "__main__.py", "cli.py", "common.py", "manifest.py", "in_process.py"}


def test_an_import_up_the_tower_is_found(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("def late():\n    from masklet_build.repository import image\n    from masklet_build.models import network\n")
    engines = list(TOWER).index("engines") + 1
    assert violations(Rule("*.py", standing_on(engines)), tmp_path) == ["early.py:2 imports masklet_build.repository.image"]


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
    ["masklet_build.serve", "masklet_build.repository.assemble", "masklet_build.cli", "masklet_build.quality.report", "masklet_build.check.report"],
)
def test_serving_works_without_what_exports(module: str) -> None:
    _run(f"import sys; sys.modules['torch'] = sys.modules['onnx'] = None; import {module}")


def test_the_command_starts_without_what_downloads_need() -> None:
    _run("import sys; sys.modules['urllib3'] = sys.modules['tqdm'] = None; import masklet_build.cli")


@pytest.mark.parametrize("module", ["engines.command", "engines.compilers", "engines.folder", "engines.plans", "export.profiles", "engines.runtime"])
def test_everything_about_plans_but_making_and_running_them_works_without_a_compiler(module: str) -> None:
    absent = "".join(f"sys.modules[{name!r}] = " for name in ("tensorrt", "tensorrt_rtx_bindings", "torch", "tqdm"))
    _run(f"import sys; {absent} None; import masklet_build.{module}")


def graph(package: Path) -> dict[str, set[str]]:
    """The modules of a package, and what each imports of it, wherever in the module: at its head, for types only, or in a function."""
    paths = {".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in package.rglob("*.py")}
    return {module: {found for _, name in imports(path) if (found := _module(name, paths))} for module, path in paths.items()}


def _module(name: str, modules: Collection[str]) -> str | None:
    return name if name in modules else parent if (parent := name.rpartition(".")[0]) in modules else None


def test_the_clients_modules_import_each_other_in_one_direction() -> None:
    """And so do its folders."""
    modules = graph(ROOT / CLIENT)
    assert len(modules) > 40
    TopologicalSorter(modules).prepare()
    folders: dict[str, set[str]] = {}
    for module, imported in modules.items():
        folders.setdefault(_folder(module), set()).update({_folder(name) for name in imported} - {_folder(module)})
    TopologicalSorter(folders).prepare()


def _folder(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    """Also one that is there for types only, or in a function."""
    package = tmp_path / "pack"
    package.mkdir()
    (package / "one.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.two import Two\n")
    (package / "two.py").write_text("def late():\n    from pack import one\n")
    assert graph(package) == {"pack.one": {"pack.two"}, "pack.two": {"pack.one"}}
    with pytest.raises(CycleError):
        TopologicalSorter(graph(package)).prepare()


def test_importing_the_client_loads_no_grpc() -> None:
    """Its types, the mask codec and the mock are useful where gRPC is not installed, and the import is fast."""
    _run("import sys; sys.modules['grpc'] = sys.modules['tritonclient'] = None; import masklet")


def _run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
