"""The locks: exact versions with hashes, made from what stands beside them, in agreement with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "build" / "locks"
MADE = ("serving", "build", "image_build", "image_server", "image_tools")
CPU_ONLY = ("serving", "build", "image_build", "torch")
PIN = re.compile(r"^([a-z0-9.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Package -> version, of those that have a hash."""
    return {package: version for package, version, _ in PIN.findall((LOCKS / f"{name}.txt").read_text())}


def asked(name: str) -> set[str]:
    """Packages that an .in file names."""
    lines = [line for line in (LOCKS / f"{name}.in").read_text().splitlines() if line and line[0] not in "#-"]
    return {re.split(r"[\[<=>]", line)[0] for line in lines}


@pytest.mark.parametrize("name", [*MADE, "torch"])
def test_everything_locked_has_an_exact_version_and_hashes(name: str) -> None:
    lines = (LOCKS / f"{name}.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in lines if line[:1].isalnum()} == set(pins(name))
    assert all(re.match(r"#|    # via|    --hash=sha256:|[a-z0-9]|$", line) for line in lines), "no index, no option, no path"


@pytest.mark.parametrize("name", MADE)
def test_a_lock_says_the_command_that_makes_it_from_what_stands_beside_it(name: str) -> None:
    _, command = (LOCKS / f"{name}.txt").read_text().splitlines()[:2]
    assert f" --config-file uv.toml {name}.in " in command
    assert command.endswith(f" -o {name}.txt")
    assert asked(name) <= set(pins(name)), "the lock is older than what it is made from"


def test_nothing_for_a_gpu_is_installed_where_none_is_needed() -> None:
    """On Linux the default index has torch with gigabytes of CUDA."""
    packages = {package for name in CPU_ONLY for package in pins(name)}
    assert {package for package in packages if package.startswith(("nvidia-", "cuda", "cupy", "triton"))} == {"nvidia-pytriton", "tritonclient"}
    assert pins("torch")["torch"].endswith("+cpu")
    assert "torch" not in {*pins("build"), *pins("image_build")}


def test_torch_has_a_hash_for_each_python() -> None:
    assert (LOCKS / "torch.txt").read_text().count("--hash=") == len(("3.11", "3.12"))


@pytest.mark.parametrize("name", ["image_server", "image_build", "image_tools", "serving"])
def test_images_and_servers_hold_the_versions_that_are_tested(name: str) -> None:
    """Except what only a GPU image has, and what keeps the serving environment apart."""
    own = {"image_server": {"cupy-cuda13x", "cuda-pathfinder"}, "serving": {"nvidia-pytriton", "numpy"}}.get(name, set())
    tested = {package: version for package, version in pins("build").items() if package in pins(name) and package not in own}
    assert {package: version for package, version in pins(name).items() if package not in own} == tested
    assert own <= set(pins(name))


def test_the_server_image_has_what_the_client_and_the_python_models_import() -> None:
    assert {"numpy", "pillow", "cupy-cuda13x", "tritonclient", "grpcio", "protobuf"} <= set(pins("image_server"))
    assert not {"torch", "onnx", "onnxruntime", "openvino", "pytest", "setuptools"} & set(pins("image_server"))
