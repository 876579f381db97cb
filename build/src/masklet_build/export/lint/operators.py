"""What TensorRT's ONNX parser takes, as data.

Source: onnx/onnx-tensorrt, docs/operators.md for TensorRT 10.15 (operators of opset 9 to 24), without the operators that came after 10.13
(Attention, RotaryEmbedding, RMSNormalization, TensorScatter), the oldest version that masklet wants. TensorRT 11 takes opset 9 to 25.
"""

from __future__ import annotations

from onnx import TensorProto

SOURCE = "onnx-tensorrt docs/operators.md, TensorRT 10.15"

# bfloat16 convolutions are in ONNX since opset 22, which is also what NVIDIA's own converter writes for bfloat16 (modelopt.onnx.autocast).
OLDEST_OPSET, NEWEST_OPSET = 9, 22

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_NO_BF16 = _FLOATS - {TensorProto.BFLOAT16}
_NUMBERS = _FLOATS | {TensorProto.INT32, TensorProto.INT64}
_ANY = _NUMBERS | {TensorProto.BOOL}
_BOOL = frozenset({TensorProto.BOOL})
_CAST = _ANY | {TensorProto.UINT8}  # UINT8 is a type of inputs and outputs only: a Cast must follow

_TABLE = {
    _FLOATS: """Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos Cosh CumSum Dropout Einsum Elu
        Erf Exp Floor GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization HardSigmoid HardSwish Hardmax InstanceNormalization
        IsInf LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization Neg PRelu RNN
        Reciprocal Resize Round Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample""",
    _NO_BF16: "BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish RoiAlign",
    _NUMBERS: """Abs Add ArgMax ArgMin DepthToSpace Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod Mul Pad Pow Range
        ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Scatter
        ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK""",
    _ANY: """Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity OneHot Reshape ReverseSequence Shape Size
        Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where""",
    _BOOL: "And Not Or Xor",
    _CAST: "Cast CastLike",
}

# Operator -> types that its main inputs and its outputs may have. Further inputs, such as indices, are ONNX's own matter (structure.agreement).
TYPES = {name: types for types, names in _TABLE.items() for name in names.split()}
COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"})  # their outputs are BOOL

# Operators that the parser takes, or may take, but that this project must not have.
FORBIDDEN = {
    **dict.fromkeys(("If", "Loop", "Scan"), "branches and loops stop CUDA graphs and the fusion of what is around them"),
    **dict.fromkeys(("NonZero", "NonMaxSuppression", "Compress", "Unique"), "the result's shape depends on data, so no CUDA graph can be captured"),
    **dict.fromkeys(("SequenceConstruct", "SequenceAt", "SplitToSequence", "ConcatFromSequence"), "TensorRT has no sequences"),
    "Attention": "TensorRT older than 10.14 has no such operator, and newer ones may refuse to build where no fused kernel exists",
    "RotaryEmbedding": "TensorRT older than 10.15 has no such operator",
}

RESIZE_MODES = frozenset({"nearest", "linear"})
RESIZE_COORDINATES = frozenset({"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"})
TOP_K_LIMIT = 3840

# Input position of axes that must be constants; shapes that must not come from an input of the graph.
AXES = {
    **{name: 1 for name in TYPES if name.startswith("Reduce")},
    **dict.fromkeys(("Squeeze", "Unsqueeze", "CumSum"), 1),
}
SHAPES = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Pad", "TopK", "OneHot", "Split"), (1,)),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}
