"""Arithmetic of compiled kernels: ``exp`` for the surrogate, float16, and whether numbers are finite.

Without Intel's SVML, Numba calls the scalar exp of the C library for each element, which takes several times as long as
the rest of the backward pass. The polynomials here become SIMD; their relative error is below 2e-7 in float32, 4e-16 in
float64.

Numba has no float16 on the CPU: the processor itself converts a vector at a time. If it cannot, LLVM would call a
missing library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.constants import EXP_LN2, EXP_LOG2_E, EXP_MOST, EXP_TERMS
from cuslayer.kernels.host.llvm import (
    I32,
    Emitter,
    Flat,
    Int,
    bits_of_double,
    bits_of_float,
    double_of_bits,
    float_of_bits,
    generated,
    multiply_add,
)
from cuslayer.kernels.host.vectors import FEATURES

# In float32, the surrogate is 4e-18 of its height there, far below the precision. Smaller values would become
# subnormal, which slows every later operation several times; in float64 from -708 on.
_LEAST = np.float32(-40.0)
_LEAST_DOUBLE = np.float64(-700.0)
_HALF = np.float32(0.5)
# 1 / ln 2 in two parts, and the polynomial in r from -1/2 to 1/2 that is 1 at 0 and comes nearest to 2^r: within 9e-8.
_LOG2_E = np.float32(1.4426950408889634)
_LOG2_E_LOW = np.float32(1.4426950408889634 - float(np.float32(1.4426950408889634)))
_ZERO = np.float32(0)
_ONE = np.float32(1)
_C1 = np.float32(0.6931469775989948)
_C2 = np.float32(0.24022242085260279)
_C3 = np.float32(0.05550733743494628)
_C4 = np.float32(0.009671512644913425)
_C5 = np.float32(0.0013264727124276494)
_MANTISSA_BITS = np.int32(23)
# ln 2 in two parts, the first with so few digits that its products with whole numbers are exact; below, 1 / k!.
_LN2_HIGH = np.float64(6.93147180369123816490e-01)
_LN2_LOW = np.float64(1.90821492927058770002e-10)
_LOG2_E_DOUBLE = np.float64(1.4426950408889634)
_D3, _D4, _D5, _D6, _D7, _D8, _D9, _D10, _D11, _D12 = (1.0 / math.factorial(k) for k in range(3, 13))
_MANTISSA_BITS_DOUBLE = np.int64(52)
# Numbers of a vector of float16, and whether the processor converts them.
HALVES = 16
CONVERTS = bool(FEATURES.get("f16c"))
_LARGEST = 65504.0
_FLOATS = ir.VectorType(ir.FloatType(), HALVES)
_WORDS = ir.VectorType(I32, HALVES)
_HALVES = ir.VectorType(ir.HalfType(), HALVES)
_BITS = ir.VectorType(ir.IntType(16), HALVES)


def exp_of_negative(x: float) -> float:
    """Return exp(x) for x <= 0; 0 for x < -40 in float32, for x < -700 in float64, and for NaN."""
    return math.exp(x)


@overload(exp_of_negative)
def _exp_of_negative(x: Any) -> Any:
    """Return a compiled function: exp(x) is 2^n for the nearest whole n, times a polynomial in the rest."""

    def single(x: Any) -> Any:
        y = max(x, _LEAST)
        n = np.floor(multiply_add(y, _LOG2_E, _HALF))
        r = multiply_add(y, _LOG2_E_LOW, multiply_add(y, _LOG2_E, -n))
        value = multiply_add(multiply_add(multiply_add(_C5, r, _C4), r, _C3), r, _C2)
        value = multiply_add(multiply_add(value, r, _C1), r, _ONE)
        value = float_of_bits(bits_of_float(value) + (np.int32(n) << _MANTISSA_BITS))
        return value if x >= _LEAST else _ZERO

    def double(x: Any) -> Any:
        y = max(x, _LEAST_DOUBLE)
        n = np.floor(y * _LOG2_E_DOUBLE + 0.5)
        r = multiply_add(n, -_LN2_LOW, multiply_add(n, -_LN2_HIGH, y))
        value = multiply_add(multiply_add(multiply_add(_D12, r, _D11), r, _D10), r, _D9)
        value = multiply_add(multiply_add(multiply_add(value, r, _D8), r, _D7), r, _D6)
        value = multiply_add(multiply_add(multiply_add(value, r, _D5), r, _D4), r, _D3)
        value = multiply_add(multiply_add(multiply_add(value, r, 0.5), r, 1.0), r, 1.0)
        value = double_of_bits(bits_of_double(value) + (np.int64(n) << _MANTISSA_BITS_DOUBLE))
        return value if x >= _LEAST_DOUBLE else 0.0

    return single if x is types.float32 else double


def exp_of_step(x: float) -> float:
    """Return exp(x); in float32 by operations that C has, too, each rounded."""
    return math.exp(x)


@overload(exp_of_step)
def _exp_of_step(x: Any) -> Any:
    """Return a compiled function: see `EXP_TERMS`. Half of n multiplies twice, for results below the normal numbers."""
    most = np.float32(EXP_MOST)
    log2_e = np.float32(EXP_LOG2_E)
    high, low = map(np.float32, EXP_LN2)
    first, second, third, fourth, fifth, sixth, last = map(np.float32, EXP_TERMS)

    def in_single(x: Any) -> Any:
        y = min(max(x, -most), most)
        n = np.rint(y * log2_e)
        r = (y - n * high) - n * low
        value = ((first * r + second) * r + third) * r + fourth
        value = ((value * r + fifth) * r + sixth) * r + last
        whole = np.int32(n)
        half = np.int32(n / np.float32(2))
        value = value * float_of_bits(np.int32((half + np.int32(127)) << _MANTISSA_BITS))
        value = value * float_of_bits(np.int32((whole - half + np.int32(127)) << _MANTISSA_BITS))
        return value if x == x else x

    def in_double(x: Any) -> Any:
        return np.exp(x)

    return in_single if x is types.float32 else in_double


@compiled
def are_finite(values: Array) -> bool:
    """Return whether all values are finite; if one is not, its product with 0 is NaN."""
    zero = values.dtype.type(0)
    wrong = 0
    # Counted, without an early exit, so that the loop is SIMD.
    for i in range(values.size):
        wrong += values[i] - values[i] != zero
    return wrong == 0


@generated
def encode_vector(code: Emitter, x: Flat, at: Int, half: Flat, to: Int) -> None:
    """Write the float32 x[at : at + HALVES] to half as the bits of float16, by the rules of `float16/cpu.py`."""
    bits = x.load(at, _WORDS)
    size = (bits & (1 << 31) - 1).into("bitcast", _FLOATS)
    largest = code.value(_LARGEST, _FLOATS)
    infinity = code.value(math.inf, _FLOATS)
    bounded = size.compare("<", largest).choose(size, size.compare("<", infinity).choose(largest, infinity))
    signed = bounded.into("bitcast", _WORDS) | bits & 1 << 31
    half.store(signed.into("bitcast", _FLOATS).into("fptrunc", _HALVES).into("bitcast", _BITS), to)


@generated
def decode_vector(code: Emitter, half: Flat, at: Int, x: Flat, to: Int) -> None:
    """Write the bits of float16 half[at : at + HALVES] to x as float32."""
    x.store(half.load(at, _BITS).into("bitcast", _HALVES).into("fpext", _FLOATS), to)
