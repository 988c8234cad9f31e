"""Operations on the bits of numbers that LLVM has and Numba lacks; for compiled kernels only."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


def _bitcast(source: Any, target: Any) -> Any:
    def reinterpreted(typing_context: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return intrinsic(reinterpreted)


float_of_bits: Any = _bitcast(types.int32, types.float32)
bits_of_float: Any = _bitcast(types.float32, types.int32)


def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Return the number of zero bits below the lowest 1 of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), generate


trailing_zeros: Any = intrinsic(_trailing_zeros)
