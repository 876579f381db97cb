"""EfficientTAM in PyTorch: five stages with the signatures of `masklet.contract`, loaded from official checkpoints."""

from masklet_build.efficienttam.network import build_stages, parameter_shapes

__all__ = ["build_stages", "parameter_shapes"]
