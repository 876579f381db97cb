"""The two compilers that make plans: TensorRT, on the GPU that will run them, and TensorRT for RTX, on any CPU, for GPUs of listed kinds.

Both have the same Python classes, in modules of different names; builder.py uses them by one way. Here is what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol

from masklet_build.engines import kernels
from masklet_build.engines.kernels import Kernels
from masklet_build.engines.plans import RTX, TENSORRT, TITLES, BuildError, Machine
from masklet_build.engines.targets import DEFAULT_TARGETS

if TYPE_CHECKING:
    from masklet_build.engines.callbacks import Log

_MODULES: Final = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx_bindings"}
_INSTALL: Final = {
    TENSORRT: "Use NVIDIA's image (docker/tensorrt.md), or on a GPU host: pip install tensorrt-cu13. "
    "For GeForce and RTX cards: masklet-build engine --rtx, on any CPU",
    RTX: "Use the build environment, or: pip install 'masklet-build[rtx]'",
}
_FEWER: Final = "Where memory is short, allow fewer objects or videos per call (--objects, --videos)"


@dataclass(frozen=True)
class Inspection:
    """What is known of a plan.

    kernels       one per profile
    memory        bytes of activation memory, one per profile
    layers_json   the inspector's list of layers; empty where there is no inspector
    unknown       why something of this is empty that should not be
    """

    kernels: tuple[Kernels, ...] = ()
    memory: tuple[int, ...] = ()
    layers_json: str = ""
    unknown: str = ""


class Compiler(Protocol):
    """A maker of plans.

    name            "tensorrt" or "tensorrt-rtx"
    title           for people
    wide            whether its engines have wide profiles (masklet_build.export.profiles)
    keeps_timings   whether what it measures is worth keeping for the next build
    advice          where memory is short or no kernel is found
    """

    name: str
    title: str
    advice: str
    wide: bool
    keeps_timings: bool

    @property
    def trt(self) -> Any:
        """The module with NVIDIA's classes. Raises BuildError where it cannot be imported."""

    def machine(self) -> Machine:
        """What plans that are built now are bound to. Raises BuildError, and DeviceError without a GPU where one is needed."""

    def configure(self, config: Any) -> None:
        """What a builder's configuration needs besides the network, profiles and settings."""

    def inspect(self, plan: bytes, profiles: int, log: Log, logger: Any) -> Inspection:
        """What is known of a finished plan. Raises ValueError where nothing is."""


def compiler_of(name: str, targets: Sequence[str] = DEFAULT_TARGETS) -> Compiler:
    """The compiler of a name. `targets`: compute capabilities such as "8.9", for TensorRT for RTX; TensorRT builds for the GPU that it is on.

    Raises BuildError that says what to install.
    """
    if find_spec(_MODULES[name]) is None:
        raise BuildError(f"{TITLES[name]} is not installed here (the Python package {_MODULES[name]}). {_INSTALL[name]}")
    return TensorRT() if name == TENSORRT else TensorRTForRTX(tuple(targets))


class _Module:
    """Imports NVIDIA's classes when they are first asked for."""

    name: str

    @cached_property
    def trt(self) -> Any:
        """See `Compiler`."""
        try:
            return import_module(_MODULES[self.name])
        except ImportError as error:
            raise BuildError(f"{TITLES[self.name]} cannot be imported: {error}. {_INSTALL[self.name]}") from error


class TensorRT(_Module):
    """TensorRT on the first GPU that the process sees."""

    name, title, wide, keeps_timings = TENSORRT, TITLES[TENSORRT], False, True
    advice = f"{_FEWER}, or other processes less of the GPU; where no tactic is found, give more --workspace-gib or another --level."

    def machine(self) -> Machine:
        """See `Compiler`."""
        from masklet_build.engines.device import Device

        version = self.trt.__version__
        device = Device()
        return Machine(self.name, version, device.name, (device.compute_capability,), device.driver)

    def configure(self, config: Any) -> None:
        """See `Compiler`. It builds for the GPU that it is on."""

    def inspect(self, plan: bytes, profiles: int, log: Log, logger: Any) -> Inspection:
        """See `Compiler`. Loads the plan, as a server would."""
        engine = self.trt.Runtime(logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise ValueError("it cannot load the plan that it just built: " + "; ".join(list(log.errors)[-5:]))
        memory = tuple(engine.get_device_memory_size_for_profile_v2(index) for index in range(profiles))
        layers_json = engine.create_engine_inspector().get_engine_information(self.trt.LayerInformationFormat.JSON)
        try:
            return Inspection(kernels.of_inspector(layers_json, profiles), memory, layers_json)
        except ValueError as error:
            return Inspection((), memory, layers_json, str(error))


class TensorRTForRTX(_Module):
    """TensorRT for RTX: no GPU takes part. Its plans are compiled further on the GPU that runs them.

    It has a timing cache by name only, which does nothing but ask for a GPU, and its inspector needs one.
    """

    name, title, wide, keeps_timings = RTX, TITLES[RTX], True, False
    advice = f"{_FEWER}, or give more --workspace-gib."

    def __init__(self, targets: tuple[str, ...]) -> None:
        self.targets = targets

    def machine(self) -> Machine:
        """See `Compiler`."""
        return Machine(self.name, self.trt.__version__, "", self.targets, "")

    def configure(self, config: Any) -> None:
        """See `Compiler`."""
        config.num_compute_capabilities = len(self.targets)
        for index, target in enumerate(self.targets):
            capability = getattr(self.trt.ComputeCapability, f"SM{target.replace('.', '')}")
            if not config.set_compute_capability(capability, index):
                raise BuildError(f"{self.title} does not take compute capability {target} as a target.")

    def inspect(self, plan: bytes, profiles: int, log: Log, logger: Any) -> Inspection:
        """See `Compiler`."""
        text = log.text()
        return Inspection(kernels.of_log(text, profiles), kernels.memory_of_log(text, profiles))
