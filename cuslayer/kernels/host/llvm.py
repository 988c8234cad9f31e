"""Code that Python generates and LLVM compiles: vectors in registers, and instructions that Numba lacks.

Kernels call a function decorated by `generated` like a compiled one. It runs once for the types of its arguments, with
a `Value` or a `Flat` for each, and generates instructions. Its annotations are the types: `Flat` is an array, `Number`
the type of the first array's numbers, or of the first argument; the others are in `_KINDS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from cuslayer._base.jit import compiled
from cuslayer.backend import Array

# Bytes of a vector in rows of arrays: a cache line, and one register of the widest kind, or several narrower ones.
VECTOR_BYTES = 64
BOOL, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_REAL = ir.HalfType, ir.FloatType, ir.DoubleType
_function: Any = cgutils.get_or_insert_function


class Emitted:
    """A number or a vector in generated code; operators generate instructions.

    Comparisons of whole numbers are signed, divisions and shifts unsigned.
    """

    def __init__(self, code: Emitter, raw: Any) -> None:
        self.code = code
        self.raw = raw
        self.kind = raw.type
        self._real = isinstance(getattr(self.kind, "element", self.kind), _REAL)

    def _operate(self, integer: str, real: str, other: Emitted | float) -> Emitted:
        operation = getattr(self.code.builder, real if self._real else integer)
        return Emitted(self.code, operation(self.raw, self.code.value(other, self.kind).raw))

    def __add__(self, other: Emitted | float) -> Emitted:
        return self._operate("add", "fadd", other)

    def __sub__(self, other: Emitted | float) -> Emitted:
        return self._operate("sub", "fsub", other)

    def __mul__(self, other: Emitted | float) -> Emitted:
        return self._operate("mul", "fmul", other)

    def __floordiv__(self, other: Emitted | int) -> Emitted:
        return self._operate("udiv", "", other)

    def __rshift__(self, other: Emitted | int) -> Emitted:
        return self._operate("lshr", "", other)

    def __and__(self, other: Emitted | int) -> Emitted:
        return self._operate("and_", "", other)

    def __or__(self, other: Emitted | int) -> Emitted:
        return self._operate("or_", "", other)

    def compare(self, sign: str, other: Emitted | float) -> Emitted:
        """Return whether the numbers compare by a sign such as "<"."""
        compare = self.code.builder.fcmp_ordered if self._real else self.code.builder.icmp_signed
        return Emitted(self.code, compare(sign, self.raw, self.code.value(other, self.kind).raw))

    def choose(self, yes: Emitted, no: Emitted) -> Emitted:
        """Return one or the other, lane by lane for a vector of conditions."""
        return Emitted(self.code, self.code.builder.select(self.raw, yes.raw, no.raw))

    def into(self, conversion: str, kind: Any) -> Emitted:
        """Return the value in another type by an instruction, such as "zext"."""
        return Emitted(self.code, getattr(self.code.builder, conversion)(self.raw, kind))

    def splat(self, lanes: int) -> Emitted:
        """Return a vector that has the number in each lane."""
        builder = self.code.builder
        vector = ir.VectorType(self.kind, lanes)
        empty = ir.Constant(vector, ir.Undefined)
        single = builder.insert_element(empty, self.raw, ir.Constant(I32, 0))
        return Emitted(self.code, builder.shuffle_vector(single, empty, ir.Constant(ir.VectorType(I32, lanes), None)))


class Flat:
    """An array in generated code whose numbers are contiguous.

    Attributes:
        number: the type of its numbers.
        itemsize: their bytes.
        line: the type of a vector of VECTOR_BYTES.
    """

    def __init__(self, code: Emitter, context: Any, kind: Any, raw: Any) -> None:
        array = context.make_array(kind)(context, code.builder, raw)
        self.code = code
        self._data = array.data
        self._shape = array.shape
        self.number = array.data.type.pointee
        self.itemsize = context.get_abi_sizeof(self.number)
        self.line = ir.VectorType(self.number, VECTOR_BYTES // self.itemsize)

    @property
    def size(self) -> Emitted:
        """The length of an array with one axis."""
        return Emitted(self.code, self.code.builder.extract_value(self._shape, 0))

    def pointer(self, at: Emitted | int, kind: Any) -> Any:
        """Return the address of an index, as a pointer to a type."""
        builder = self.code.builder
        return builder.bitcast(builder.gep(self._data, [self.code.value(at).raw]), kind.as_pointer())

    def load(self, at: Emitted | int, kind: Any = None, align: int = 0) -> Emitted:
        """Return the number at an index, or the vector of a type that begins there."""
        kind = kind or self.number
        align = align or self.itemsize
        return Emitted(self.code, self.code.builder.load(self.pointer(at, kind), align=align))

    def store(self, value: Emitted, at: Emitted | int, align: int = 0) -> None:
        """Write a number or a vector to an index."""
        self.code.builder.store(value.raw, self.pointer(at, value.kind), align=align or self.itemsize)


# The annotations of generated functions.
Int: TypeAlias = Emitted
Int32: TypeAlias = Emitted
Flag: TypeAlias = Emitted
Bits: TypeAlias = Emitted
Float: TypeAlias = Emitted
Double: TypeAlias = Emitted
Number: TypeAlias = Emitted
_KINDS = {
    "Int": types.int64,
    "Int32": types.int32,
    "Flag": types.boolean,
    "Bits": types.uint64,
    "Float": types.float32,
    "Double": types.float64,
    "None": types.none,
}


class Emitter:
    """Generates values, loops and cases at the position of an LLVM builder."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def value(self, number: Emitted | float, kind: Any = I64) -> Emitted:
        """Return a value unchanged, and a Python number as a constant of a type."""
        if isinstance(number, Emitted):
            return number
        count = getattr(kind, "count", 0)
        return Emitted(self, ir.Constant(kind, [number] * count if count else number))

    def opaque(self, number: Emitted) -> Emitted:
        """Return a number from which LLVM derives no others: it would chain addresses, each waiting for the last."""
        same = ir.InlineAsm(ir.FunctionType(number.kind, [number.kind]), "", "=r,0")
        return Emitted(self, self.builder.call(same, [number.raw]))

    def call(self, name: str, result: Any, *arguments: Emitted) -> Emitted:
        """Return the result of an intrinsic function of LLVM."""
        function = ir.FunctionType(result, [argument.kind for argument in arguments])
        return Emitted(
            self, self.builder.call(_function(self.builder.module, function, name), [v.raw for v in arguments])
        )

    def loop(
        self,
        first: Emitted | int,
        last: Emitted | int,
        values: Sequence[Emitted],
        body: Callable[[Emitted, list[Emitted]], Sequence[Emitted]],
        step: int = 1,
        *,
        unrolled: bool = True,
    ) -> tuple[Emitted, list[Emitted]]:
        """Generate a loop over first, first + step, ... below last, and return the number and values after it.

        `body` takes each of these numbers and the values before it, and returns the values after it. Without
        `unrolled`, for few passes, steps that end after the last number are omitted, and LLVM cannot count passes.
        """
        builder = self.builder
        before = self.builder.block
        head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        begin = [self.value(first), *values]
        variables = [Emitted(self, builder.phi(value.kind)) for value in begin]
        number = variables[0] + step
        condition = variables[0].compare("<", last) if unrolled else number.compare("<=", last)
        builder.cbranch(condition.raw, inside, after)
        builder.position_at_end(inside)
        following = [number, *body(variables[0], variables[1:])]
        for variable, value, next_value in zip(variables, begin, following, strict=True):
            variable.raw.add_incoming(value.raw, before)
            variable.raw.add_incoming(next_value.raw, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return variables[0], variables[1:]

    def loops(
        self,
        ranges: Sequence[tuple[Emitted | int, Emitted | int]],
        values: Sequence[Emitted],
        body: Callable[..., Sequence[Emitted]],
    ) -> list[Emitted]:
        """Generate nested loops over ranges, and return the values after them.

        `body` takes a number of each range and the values before it.
        """
        if not ranges:
            return list(body(*values))
        (first, last), *inner = ranges
        _, after = self.loop(
            first, last, values, lambda number, before: self.loops(inner, before, partial(body, number))
        )
        return after

    def cases(self, number: Emitted, cases: Mapping[int, Callable[[], None]]) -> None:
        """Generate code for each whole number that a value may be, and none for any other."""
        builder = self.builder
        end = self.builder.append_basic_block("done")
        choice = builder.switch(number.raw, end)
        for case, generate in cases.items():
            block = builder.append_basic_block(f"case{case}")
            choice.add_case(ir.Constant(number.kind, case), block)
            builder.position_at_end(block)
            generate()
            builder.branch(end)
        builder.position_at_end(end)


def generated(function: Callable[..., Any]) -> Any:
    """Turn a function that generates code into one that kernels call; see above. Arrays must be contiguous."""
    _, *parameters = inspect.signature(function).parameters.values()
    result = function.__annotations__["return"]

    def typed(typing_context: Any, *argument_types: Any) -> Any:
        arrays = [kind for kind in argument_types if isinstance(kind, types.Array)]
        if any(kind.layout != "C" for kind in arrays):
            raise TypingError(f"{function.__name__}: arrays must be contiguous, got {arrays}")
        numbers = next((kind.dtype for kind in arrays), next(iter(argument_types), None))
        kinds: dict[str, Any] = {**_KINDS, "Number": numbers}
        passed = [
            kinds.get(parameter.annotation, kind) for parameter, kind in zip(parameters, argument_types, strict=True)
        ]

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            code = Emitter(builder)
            values = list[Emitted | Flat]()
            for kind, raw in zip(signature.args, arguments, strict=True):
                is_array = isinstance(kind, types.Array)
                values.append(Flat(code, context, kind, raw) if is_array else Emitted(code, raw))
            emitted = function(code, *values)
            return context.get_dummy_value() if emitted is None else emitted.raw

        return kinds[result](*passed), generate

    first = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typed.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    typed.__name__ = function.__name__
    typed.__doc__ = function.__doc__
    return intrinsic(typed)


@generated
def float_of_bits(code: Emitter, bits: Int32) -> Float:
    """Return the number that has these bits."""
    return bits.into("bitcast", ir.FloatType())


@generated
def bits_of_float(code: Emitter, number: Float) -> Int32:
    """Return the bits of a number."""
    return number.into("bitcast", I32)


@generated
def double_of_bits(code: Emitter, bits: Int) -> Double:
    """Return the number that has these bits."""
    return bits.into("bitcast", ir.DoubleType())


@generated
def bits_of_double(code: Emitter, number: Double) -> Int:
    """Return the bits of a number."""
    return number.into("bitcast", I64)


@generated
def multiply_add(code: Emitter, x: Number, y: Number, z: Number) -> Number:
    """Return ``x y + z``, rounded once if the processor has an instruction for it, else twice."""
    return code.call(f"llvm.fmuladd.{'f32' if x.kind == ir.FloatType() else 'f64'}", x.kind, x, y, z)


@generated
def chosen(code: Emitter, yes: Number, no: Number, condition: Flag) -> Number:
    """Return one number or the other without a branch, which would keep a loop from becoming SIMD."""
    return condition.choose(yes, no)


@generated
def trailing_zeros(code: Emitter, word: Bits) -> Bits:
    """Return the number of zero bits below the lowest 1 of a word that is not 0."""
    return Emitted(code, code.builder.cttz(word.raw, ir.Constant(BOOL, 1)))


@generated
def number_of_ones(code: Emitter, word: Bits) -> Bits:
    """Return the number of bits of a word that are 1."""
    return Emitted(code, code.builder.ctpop(word.raw))


def _pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


_pointer_at: Any = intrinsic(_pointer)
_carray: Any = vars(numba)["carray"]


@compiled
def array_at(address: int, size: int, like: Array) -> Array:
    """Return the array (size,) at an address, in the type of another; the caller keeps its memory."""
    return _carray(_pointer_at(address), (size,), like.dtype)


def _in_rows(argument_types: Any) -> bool:
    """Return whether all arrays of a tuple lie row after row, as functions called by an address need."""
    return all(kind.layout == "C" for kind in argument_types if isinstance(kind, types.Array))


def _call(typing_context: Any, address: Any, argument_types: Any) -> Any:
    if not _in_rows(argument_types):
        return None

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        passed = []
        for number, kind in enumerate(argument_types):
            value = builder.extract_value(arguments[1], number)
            if not isinstance(kind, types.Array):
                passed.append(context.cast(builder, value, kind, types.int64))
                continue
            array = context.make_array(kind)(context, builder, value)
            passed.append(array.data)
            if kind.ndim == 2:
                size = ir.Constant(I64, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
                step = builder.extract_value(array.strides, 0)
                passed += [builder.extract_value(array.shape, 0), builder.sdiv(step, size)]
        function = ir.FunctionType(ir.VoidType(), [argument.type for argument in passed])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), passed)
        return context.get_dummy_value()

    return types.none(types.intp, argument_types), generate


# call(address, arguments): call a function of `jit.address_of` with a tuple of whole numbers and arrays. An array with
# one axis is passed as its address, one with two as its address, the number of rows and their distance in elements.
call: Any = intrinsic(_call)


def _run(typing_context: Any, address: Any, argument_types: Any) -> Any:
    if not _in_rows(argument_types):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = [types.int64 if isinstance(kind, types.Integer) else kind for kind in argument_types]
        values = [builder.extract_value(arguments[1], number) for number in range(len(kinds))]
        values = [context.cast(builder, *typed) for typed in zip(values, argument_types, kinds, strict=True)]
        function = context.call_conv.get_function_type(types.none, kinds)
        pointer = builder.inttoptr(arguments[0], function.as_pointer())
        status, _ = context.call_conv.call_function(builder, pointer, types.none, kinds, values)
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.intp, argument_types), generate


# run(address, arguments): call a function of `jit.native_address` with a tuple of its arguments.
run: Any = intrinsic(_run)


def _widen(typing_context: Any) -> Any:
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        # llvmlite's own method takes no attribute with a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


# whole_registers(): use all of a register in the loops of this function. LLVM uses half of AVX-512's by default, since
# the first processors with them ran slower then.
whole_registers: Any = intrinsic(_widen)
