"""Rounding to bfloat16, against ml_dtypes' and by hand."""

import ml_dtypes
import numpy as np

from masklet_bank import bfloat16


def test_rounds_as_the_reference_type_does():
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32) * np.float32(100)
    assert np.array_equal(bfloat16.to_bits(values), values.astype(ml_dtypes.bfloat16).view(np.uint16))


def test_ties_go_to_even():
    halfway = np.array([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8)], np.float32)
    assert bfloat16.to_bits(halfway).tolist() == [0x3F80, 0x3F82, 0xBF80]


def test_widening_gives_the_rounded_value_back():
    bits = np.arange(0, 0x7F80, dtype=np.uint16).reshape(255, -1)
    out = np.empty(bits.shape, np.float32)
    bfloat16.widen(bits, out=out)
    assert np.array_equal(out, bits.view(ml_dtypes.bfloat16).astype(np.float32))
