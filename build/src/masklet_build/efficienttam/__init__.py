"""EfficientTAM in PyTorch: five stages with the signatures of `masklet.contract`, loaded from checkpoints with the official parameter names."""

from masklet_build.efficienttam.network import build_stages, parameter_shapes

__all__ = ["build_stages", "parameter_shapes"]
