"""Every tensor of every masklet model, named once.

The ONNX export, the Triton configs, the memory bank's calls, the client's requests and the tests all read this table.
`config.pbtxt` files repeat it for Triton; a test compares the two.

Dimensions are integers or symbols. A symbol that a variant fixes is replaced by `resolve`; the others stay free:

    S    side of the square model image            V    videos in an engine call
    G    side of the feature grid (S / stride)     B    objects in an engine call
    L    side of the low-resolution mask (4 G)     F    remembered frames per object
    M    side of a user's mask (16 G)              P    object pointers per object
    T    tokens of one memory                      N    prompt tokens per object
    D    width of features and pointers            R    rivals per object
    n m k   counts that differ from request to request (zero allowed)

A tensor has at most one free dimension: with two, a shape such as 0 x 2^62 passes Triton, and ends the python process that makes an array of it.
"""

from masklet.contract.engines import (
    KIND_CLICK,
    KIND_MASK,
    KIND_TRACKED,
    engines,
    image_encoder,
    mask_decoder,
    mask_prompt,
    memory_attention,
    memory_encoder,
)
from masklet.contract.server import ENVELOPE, POSTPROCESS, TIMING_FIELDS, TRACKER, escorted, memory_bank, models, preprocess
from masklet.contract.tensors import NUMPY_DTYPES, Dim, Model, Tensor, resolve

CONTRACT_VERSION = 3
VERSION = "0.1.0"  # of masklet, as in both pyproject.toml

__all__ = [
    "CONTRACT_VERSION",
    "ENVELOPE",
    "KIND_CLICK",
    "KIND_MASK",
    "KIND_TRACKED",
    "NUMPY_DTYPES",
    "POSTPROCESS",
    "TIMING_FIELDS",
    "TRACKER",
    "VERSION",
    "Dim",
    "Model",
    "Tensor",
    "engines",
    "escorted",
    "image_encoder",
    "mask_decoder",
    "mask_prompt",
    "memory_attention",
    "memory_bank",
    "memory_encoder",
    "models",
    "preprocess",
    "resolve",
]
