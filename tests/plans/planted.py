"""Mistakes that are easily made with TensorRT's Python API, and the versions in which each is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import masklet_build.engines

PACKAGE = Path(masklet_build.engines.__file__).parent


@dataclass(frozen=True)
class Planted:
    """In `module` of masklet_build.engines the text `old` becomes `new`; `since`: the first major version in which that is wrong."""

    name: str
    module: str
    old: str
    new: str
    since: int = 10

    def wrong_in(self, version: str) -> bool:
        return int(version.split(".")[0]) >= self.since

    def source(self) -> str:
        """The module with the mistake."""
        text = (PACKAGE / f"{self.module}.py").read_text()
        assert text.count(self.old) == 1, f"{self.name}: {self.old!r} is {text.count(self.old)} times in {self.module}.py"
        return text.replace(self.old, self.new)


_LEVEL = "    config.builder_optimization_level = settings.level\n"
_RETURN = "    return network, parser\n"

PLANTED = [
    Planted("explicit_batch", "network", "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "NetworkDefinitionCreationFlag.EXPLICIT_BATCH", since=11),
    Planted("fp16_flag", "builder", _LEVEL, _LEVEL + "    config.set_flag(trt.BuilderFlag.FP16)\n", since=11),
    Planted("bf16_flag", "builder", _LEVEL, _LEVEL + "    config.set_flag(trt.BuilderFlag.BF16)\n", since=11),
    Planted("max_workspace_size", "builder", _LEVEL, _LEVEL + "    config.max_workspace_size = 1 << 30\n"),
    Planted("platform_has_fast_fp16", "builder", _LEVEL, _LEVEL + "    assert builder.platform_has_fast_fp16\n", since=11),
    Planted(
        "swapped_pool_limit",
        "builder",
        "(trt.MemoryPoolType.WORKSPACE, int(settings.workspace_gib * 2**30))",
        "(int(settings.workspace_gib * 2**30), trt.MemoryPoolType.WORKSPACE)",
    ),
    Planted("layer_precision", "network", _RETURN, "    network.get_layer(0).precision = trt.DataType.HALF\n" + _RETURN, since=11),
    Planted(
        "profile_sharing", "builder", _LEVEL, _LEVEL + "    config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)\n", since=11
    ),
    Planted("timing_cache_of_bytes", "builder", "if not config.set_timing_cache(cache, ", "if not config.set_timing_cache(timings, "),
    Planted("typo_in_a_setting", "builder", "config.builder_optimization_level", "config.builder_optimisation_level"),
    Planted("typo_in_a_method", "builder", "builder.build_serialized_network(", "builder.build_serialised_network("),
    Planted("build_engine", "builder", "builder.build_serialized_network(", "builder.build_engine("),
    Planted(
        "old_device_memory", "builder", "engine.get_device_memory_size_for_profile_v2(index)", "engine.get_device_memory_size_for_profile(index)", 11
    ),
    Planted("progress_of_another_name", "callbacks", "Progress(trt.IProgressMonitor)", "Progress(trt.ProgressMonitor)"),
    Planted("execute_v2_async", "runtime", ".execute_async_v3(", ".execute_async_v2("),
    Planted("binding_shape", "runtime", ".set_input_shape(", ".set_binding_shape("),
    Planted(
        "profile_without_stream", "runtime", ".set_optimization_profile_async(profile, self._stream)", ".set_optimization_profile_async(profile)"
    ),
]
