"""This machine, as plans are bound to it."""

from __future__ import annotations

from masklet_build.engines.device import Device
from masklet_build.engines.plans import Machine


def this_machine() -> Machine:
    """TensorRT's version and the first visible GPU. Raises ImportError and DeviceError."""
    import tensorrt as trt

    device = Device()
    return Machine(trt.__version__, device.name, device.compute_capability, device.driver)
