"""float16 and back by the processor's own conversion, a vector at a time; for compiled kernels only.

Numba has no float16 on the CPU. Where the processor does not convert, LLVM would call a library that is not there.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.kernels.host.llvm import data_of, vector_at
from cuslayer.kernels.host.vectors import FEATURES

# Numbers of a vector, and whether the processor converts them.
HALVES = 16
CONVERTS = bool(FEATURES.get("f16c"))
_LARGEST = 65504.0
_FLOATS, _WORDS = ir.VectorType(ir.FloatType(), HALVES), ir.VectorType(ir.IntType(32), HALVES)
_HALVES, _BITS = ir.VectorType(ir.HalfType(), HALVES), ir.VectorType(ir.IntType(16), HALVES)


def _all(vector: Any, value: Any) -> Any:
    return ir.Constant(vector, [value] * HALVES)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, n: int, vector: Any) -> Any:
    """Return a pointer to the vector of the array n, at the place that the next argument has."""
    (data,) = data_of(context, builder, signature, arguments, n)
    return vector_at(builder, data, arguments[n + 1], vector)


def _encode(typing_context: Any, x: Any, at: Any, half: Any, to: Any) -> Any:
    """Write the float32 x[at : at + HALVES] to half as the bits of float16, by the rules of `float16/cpu.py`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = context, builder, signature, arguments
        bits = builder.load(_pointer(*given, 0, _WORDS), align=4)
        sign = builder.and_(bits, _all(_WORDS, 1 << 31))
        size = builder.bitcast(builder.and_(bits, _all(_WORDS, (1 << 31) - 1)), _FLOATS)
        fits = builder.fcmp_ordered("<", size, _all(_FLOATS, _LARGEST))
        finite = builder.fcmp_ordered("<", size, _all(_FLOATS, float("inf")))
        large = builder.select(finite, _all(_FLOATS, _LARGEST), _all(_FLOATS, float("inf")))
        bounded = builder.bitcast(builder.select(fits, size, large), _WORDS)
        found = builder.fptrunc(builder.bitcast(builder.or_(bounded, sign), _FLOATS), _HALVES)
        builder.store(builder.bitcast(found, _BITS), _pointer(*given, 2, _BITS), align=2)
        return context.get_dummy_value()

    return types.none(x, types.intp, half, types.intp), generate


def _decode(typing_context: Any, half: Any, at: Any, x: Any, to: Any) -> Any:
    """Write the bits of float16 half[at : at + HALVES] to x as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = context, builder, signature, arguments
        bits = builder.load(_pointer(*given, 0, _BITS), align=2)
        numbers = builder.fpext(builder.bitcast(bits, _HALVES), _FLOATS)
        builder.store(numbers, _pointer(*given, 2, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.none(half, types.intp, x, types.intp), generate


encode_vector: Any = intrinsic(_encode)
decode_vector: Any = intrinsic(_decode)
