"""Pieces of generated code, for functions that LLVM compiles into kernels: arrays, vectors, loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)


def data_of(context: Any, builder: Any, signature: Any, arguments: Any, *numbers: int) -> list[Any]:
    """Return the addresses of the arrays that the arguments of some numbers are."""
    return [context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in numbers]


def vector_at(builder: Any, data: Any, at: Any, vector: Any) -> Any:
    """Return the address of the vector of a type that begins at a place of an array."""
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector that has a number in each lane."""
    empty = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(_I32, vector.count), None))


def generate_loop(builder: Any, count: Any, first: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Generate a loop of `count` passes over variables: `body` is given the pass and them, and returns the next ones.

    Returns the variables after the last pass.
    """
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    turn = builder.phi(_I64)
    variables = [builder.phi(value.type) for value in first]
    builder.cbranch(builder.icmp_signed("<", turn, count), inside, after)
    builder.position_at_end(inside)
    following = [builder.add(turn, ir.Constant(_I64, 1)), *body(turn, variables)]
    for variable, value, other in zip([turn, *variables], [ir.Constant(_I64, 0), *first], following, strict=True):
        variable.add_incoming(value, before)
        variable.add_incoming(other, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return variables


def _in_rows(given: Any) -> bool:
    """Return whether all arrays of a tuple lie row after row, as functions that are called by an address expect."""
    return all(kind.layout == "C" for kind in given if isinstance(kind, types.Array))


def _call(typing_context: Any, address: Any, given: Any) -> Any:
    if not _in_rows(given):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        passed = []
        for number, kind in enumerate(given):
            value = builder.extract_value(arguments[1], number)
            if not isinstance(kind, types.Array):
                passed.append(context.cast(builder, value, kind, types.int64))
                continue
            array = context.make_array(kind)(context, builder, value)
            passed.append(array.data)
            if kind.ndim == 2:
                size = ir.Constant(_I64, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
                step = builder.extract_value(array.strides, 0)
                passed += [builder.extract_value(array.shape, 0), builder.sdiv(step, size)]
        function = ir.FunctionType(ir.VoidType(), [each.type for each in passed])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), passed)
        return context.get_dummy_value()

    return types.none(types.intp, given), generate


# call(address, given): call a function of `jit.address_of` with a tuple of whole numbers and arrays. An array with one
# axis is passed as its address, one with two as its address, the number of rows and the distance of two in elements.
call: Any = intrinsic(_call)


def _run(typing_context: Any, address: Any, given: Any) -> Any:
    if not _in_rows(given):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = [types.int64 if isinstance(kind, types.Integer) else kind for kind in given]
        values = [builder.extract_value(arguments[1], number) for number in range(len(kinds))]
        values = [context.cast(builder, *each) for each in zip(values, given, kinds, strict=True)]
        function = context.call_conv.get_function_type(types.none, kinds)
        pointer = builder.inttoptr(arguments[0], function.as_pointer())
        status, _ = context.call_conv.call_function(builder, pointer, types.none, kinds, values)
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.intp, given), generate


# run(address, given): call a function of `jit.native_address` with a tuple of its arguments.
run: Any = intrinsic(_run)
