"""``exp`` for the surrogate: a polynomial that the compiler turns into SIMD in float32, the C library in float64.

Without Intel's SVML, Numba calls the scalar exp of the C library for each element, which costs more than the rest of
the backward pass. The float32 polynomial is that of Cephes' expf; its relative error is under 2e-7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from cuslayer.kernels.host.bits import float_of_bits

_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
# Here the surrogate is 4e-18 of its height, far below the precision of float32. Smaller values would become denormals,
# which slow every later operation several times.
_LEAST = np.float32(-40.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1)
_C1 = np.float32(1.9875691500e-4)
_C2 = np.float32(1.3981999507e-3)
_C3 = np.float32(8.3334519073e-3)
_C4 = np.float32(4.1665795894e-2)
_C5 = np.float32(1.6666665459e-1)
_C6 = np.float32(5.0000001201e-1)
_MANTISSA_BITS = np.int32(23)
_EXPONENT_BIAS = np.int32(127)


def exp_of_negative(x: float) -> float:
    """Return exp(x) for x <= 0; in float32, 0 for x < -40. The result for -inf and NaN is NaN.

    So the surrogate of a potential that is not finite is NaN, and so is every gradient that depends on it.
    """
    return math.exp(x + (x - x))


@overload(exp_of_negative, inline="always")
def _exp_of_negative(x: Any) -> Any:
    if x is not types.float32:

        def library(x: Any) -> Any:
            return math.exp(x + (x - x))

        return library

    def polynomial(x: Any) -> Any:
        y = max(x, _LEAST)
        n = np.floor(y * _LOG2_E + _HALF)
        r = y - n * _LN2_HIGH - n * _LN2_LOW
        tail = ((((_C1 * r + _C2) * r + _C3) * r + _C4) * r + _C5) * r + _C6
        power = float_of_bits((np.int32(n) + _EXPONENT_BIAS) << _MANTISSA_BITS)
        value = (tail * (r * r) + r + _ONE) * power
        return value if x >= _LEAST else x - x

    return polynomial
