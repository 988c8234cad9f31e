"""Conversion to float16 and back on the CPU, in vectors or by the bits of float32: NumPy's takes far longer.

Rounds to nearest, ties to even, as NumPy does; finite values out of range become the largest float16, not infinity.
Values that are not finite become infinity, so backward still detects a potential that is not finite.
"""

from __future__ import annotations

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array, DType
from cuslayer.kernels.host.llvm import bits_of_float, float_of_bits
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.numbers import CONVERTS, HALVES, decode_vector, encode_vector

_GRAIN = 1 << 16
_LARGEST = np.float32(65504)
_UNBOUNDED = np.float32(np.inf)
# Below this, float16 is a multiple of its smallest step, which is the step of float32 between 1/2 and 1.
_SUBNORMAL = np.float32(2.0**-14)
_HALF = np.float32(0.5)
_HALF_BITS = np.int32(0x3F000000)
_STEP = np.float32(2.0**-24)
# The exponents are biased by 127 and by 15; of the 23 bits of the mantissa, float16 has the first 10.
_BIAS = np.int32(112 << 23)
_DROPPED = np.int32(13)
_UNDER_HALF = np.int32(0xFFF)
_ONE = np.int32(1)
_SIGN = np.int32(0x8000)
_MAGNITUDE = np.int32(0x7FFF)
_NORMAL = np.int32(0x400)
_INFINITY = np.int32(0x7C00)
_FLOAT32_INFINITY = np.int32(255 << 23)
_TO_SIGN = np.int32(16)


@compiled
def encode_bits(first: int, last: int, x: Array, half: Array) -> None:
    """Write x[first:last] to half as the bits of float16."""
    numbers = x[first:last]
    out = half[first:last]
    in_vectors = (last - first) // HALVES * HALVES if CONVERTS and x.itemsize == 4 else 0
    for j in range(0, in_vectors, HALVES):
        encode_vector(numbers, j, out, j)
    for j in range(in_vectors, last - first):
        number = numbers[j]
        size = min(abs(number), _LARGEST)
        near = np.float32(size)
        bits = bits_of_float(near)
        if near != size:
            # A float64 that is no float32 rounds towards 0, then to odd bits, which are no tie of float16.
            bits = np.int32((bits - _ONE if near > size else bits) | _ONE)
        normal = (bits - _BIAS + _UNDER_HALF + ((bits >> _DROPPED) & _ONE)) >> _DROPPED
        small = bits_of_float(float_of_bits(bits) + _HALF) - _HALF_BITS
        sign = (bits_of_float(np.float32(number)) >> _TO_SIGN) & _SIGN
        finite = small if size < _SUBNORMAL else normal
        out[j] = (finite if abs(number) < _UNBOUNDED else _INFINITY) | sign


@compiled
def decode_bits(first: int, last: int, half: Array, x: Array) -> None:
    """Write half[first:last], the bits of float16, to x as numbers."""
    halves = half[first:last]
    out = x[first:last]
    in_vectors = (last - first) // HALVES * HALVES if CONVERTS and x.itemsize == 4 else 0
    for j in range(0, in_vectors, HALVES):
        decode_vector(halves, j, out, j)
    for j in range(in_vectors, last - first):
        bits = np.int32(halves[j])
        size = bits & _MAGNITUDE
        normal = float_of_bits((size << _DROPPED) + _BIAS if size < _INFINITY else _FLOAT32_INFINITY)
        value = np.float32(size) * _STEP if size < _NORMAL else normal
        out[j] = -value if bits & _SIGN else value


def store(x: Array) -> Array:
    """Return x, float32 or float64, as float16."""
    half = empty(x.shape, np.float16)
    parallel_for(encode_bits, x.size, x.reshape(-1), half.reshape(-1).view(np.uint16), grain=_GRAIN)
    return half


def load(half: Array, dtype: DType) -> Array:
    """Return the result of `store` in a number type."""
    if dtype != np.float32:
        return half.astype(dtype)
    x = empty(half.shape, dtype)
    parallel_for(decode_bits, x.size, half.reshape(-1).view(np.uint16), x.reshape(-1), grain=_GRAIN)
    return x
