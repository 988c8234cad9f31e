"""Operations on numbers and their bits that LLVM has and Numba lacks; for compiled kernels only."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
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
double_of_bits: Any = _bitcast(types.int64, types.float64)
bits_of_double: Any = _bitcast(types.float64, types.int64)


def _multiply_add(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """Return ``x y + z``, rounded once where the processor has an instruction for it, and twice elsewhere."""

    def generate(context: Any, builder: Any, of: Any, arguments: Any) -> Any:
        number = arguments[0].type
        signature = ir.FunctionType(number, [number] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [number], signature), arguments)

    return x(x, x, x), generate


multiply_add: Any = intrinsic(_multiply_add)


def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Return the number of zero bits below the lowest 1 of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), generate


trailing_zeros: Any = intrinsic(_trailing_zeros)


def _number_of_ones(typing_context: Any, word: Any) -> Any:
    """Return the number of bits of a word that are 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


number_of_ones: Any = intrinsic(_number_of_ones)
