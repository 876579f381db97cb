"""Libraries that stand in for NVIDIA's where there is no GPU, compiled by the machine's C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# All that NVIDIA's Python bindings import from TensorRT's libraries; nothing can be made with them, but every class and name is real.
TENSORRT = {
    "nvinfer": """void *createInferBuilder_INTERNAL(void *log, int version) { return 0; }
void *createInferRuntime_INTERNAL(void *log, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *log, int version) { return 0; }
void *getPluginRegistry(void) { return 0; }
void *getBuilderPluginRegistry(int capability) { return 0; }
""",
    "nvonnxparser": """void *createNvOnnxParser_INTERNAL(void *network, void *log, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *log, int version) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
""",
    "nvinfer_plugin": "int initLibNvInferPlugins(void *log, const char *namespace) { return 1; }\n",
}


def compile_library(source: Path, library: Path) -> Path:
    """Compiles one C file into a shared library of the name that programs look for. Skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: install gcc")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{library.name}", "-o", library, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return library


def compile_driver(folder: Path) -> Path:
    """libcuda.c beside this file."""
    return compile_library(Path(__file__).with_name("libcuda.c"), folder / "libcuda.so.1")


def compile_tensorrt(folder: Path, major: str) -> None:
    """The three libraries of a major version of TensorRT."""
    for name, source in TENSORRT.items():
        path = folder / f"{name}.c"
        path.write_text(source)
        compile_library(path, folder / f"lib{name}.so.{major}")
