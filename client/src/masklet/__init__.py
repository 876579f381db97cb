"""Client of masklet: track objects through live videos on NVIDIA Triton Inference Server."""
