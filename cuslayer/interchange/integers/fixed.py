"""The step of a neuron in fixed point: each value is a whole number times a power of two.

A value with `fraction` bits is ``n 2^-fraction``. In a step all values have the same fraction; a state is stored with
fewer bits, and saturates. A constant factor is a whole number of 16 bits and a shift. A result that has more bits is
rounded to the nearest, halves up.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.step.kind import Kind, is_condition

_MOST_FACTOR = 32767
# Bits of a value in a step at most: products with factors of 16 bits then fit into 64.
MOST_FRACTION = 30
# The same of a step that multiplies two of its values, and the bits of such a value.
MOST_OF_PRODUCTS = 15
PRODUCT_BITS = 31
# Bits of a weighted input.
INPUT_BITS = 40
# A shift at most, of numbers of 64 bits.
MOST_SHIFT = 62
# Bits of any value in a step, and of one that is not yet saturated.
STEP_BITS = 47
UNLIMITED_BITS = 62
# The function of a step that saturates a value; `guarded` writes it.
_SATURATED = "saturated"


@dataclass(frozen=True)
class Factor:
    """A constant factor, ``mantissa 2^-shift``: a number for all neurons or for each."""

    mantissa: Array
    shift: int

    @classmethod
    def of(cls, value: Any, most: int = _MOST_FACTOR) -> Factor:
        """Return the nearest factor whose mantissa is `most` or less."""
        numbers = np.asarray(value, np.float64)
        largest = float(np.abs(numbers).max(initial=0.0))
        shift = 0 if largest == 0 else math.floor(math.log2(most / largest))
        shift = min(shift, MOST_SHIFT)
        if largest and round(largest * 2.0**shift) > most:
            shift -= 1
        return cls(np.rint(numbers * 2.0**shift).astype(np.int64), shift)

    def times(self, value: Any) -> Array:
        """Return whole numbers times the factor; a shift to the left saturates."""
        product: Array = value * self.mantissa
        return shifted(product if self.shift >= 0 else saturated(product, self.left_bits), self.shift)

    @property
    def left_bits(self) -> int:
        """Bits of a product before a shift to the left."""
        return MOST_SHIFT + self.shift


def shifted(value: Array, shift: int) -> Array:
    """Return whole numbers times ``2^-shift``, rounded to the nearest."""
    if shift <= 0:
        return value * (1 << -shift)
    rounded: Array = (value + (1 << (shift - 1))) >> shift
    return rounded


def saturated(value: Array, bits: int) -> Array:
    """Return whole numbers within the range of signed numbers of some bits."""
    most = (1 << (bits - 1)) - 1
    return np.clip(value, -most - 1, most)


@dataclass(frozen=True, eq=False)
class FixedStep:
    """A neuron's step in fixed point.

    Attributes:
        kind: the step.
        constants: its constants by name, float64, numbers or (neurons,).
        fraction: the bits of a value after the point.
        states: the same of each stored state.
        bits: the bits of a stored state.
        lags: the steps of `ago` by the name of the constant; 0 for none.
    """

    kind: Kind
    constants: Mapping[str, Any]
    fraction: int
    states: tuple[int, ...]
    bits: int
    lags: Mapping[str, int] = field(default_factory=dict)

    def fixed(self, number: Any) -> Array:
        """Return numbers as whole numbers of the fraction; those without end as the largest."""
        whole = np.rint(np.asarray(number, np.float64) * 2.0**self.fraction)
        return np.clip(whole, -(2.0**62), 2.0**62).astype(np.int64)

    def start(self, shape: tuple[int, ...]) -> list[Array]:
        """Return the stored states before the first step."""
        starts = self.kind.start or (0.0,) * len(self.states)
        return [
            np.full(shape, round(start * 2.0**fraction), np.int64)
            for start, fraction in zip(starts, self.states, strict=True)
        ]

    def run(self, states: list[Array], x: Array, past: Mapping[str, Array]) -> tuple[list[Array], dict[str, Any]]:
        """Return the stored states after a step, and all values of the step."""
        values: dict[str, Any] = {
            name: state * (1 << (self.fraction - fraction))
            for name, state, fraction in zip(self.kind.states, states, self.states, strict=True)
        }
        values |= {self.kind.inputs[0]: x, **past}
        evaluate = Evaluate(self, values)
        for name, value in self.kind.body:
            values[name] = evaluate.condition(value) if is_condition(value) else evaluate.value(value)
        after = [
            saturated(shifted(evaluate.value(ast.Name(name)), self.fraction - fraction), self.bits)
            for name, fraction in zip(self.kind.after, self.states, strict=True)
        ]
        return after, values


class Evaluate:
    """Evaluates the expressions of a step on arrays of whole numbers."""

    def __init__(self, step: FixedStep, values: dict[str, Any]) -> None:
        self.step = step
        self.values = values

    def constant(self, value: ast.expr) -> Any:
        """Return an expression of constants as a number; None if it depends on the input."""
        return constant_of(value, self.step.constants)

    def fixed(self, number: Any) -> Array:
        """Return a number as a whole number of the step's fraction."""
        return self.step.fixed(number)

    def condition(self, value: ast.expr) -> Array:
        """Return an expression that is true or false."""
        if isinstance(value, ast.Name):
            return cast(Array, self.values[value.id])
        if isinstance(value, ast.UnaryOp):
            return ~self.condition(value.operand)
        if isinstance(value, ast.BoolOp):
            parts = [self.condition(part) for part in value.values]
            joined = np.logical_and if isinstance(value.op, ast.And) else np.logical_or
            return cast(Array, joined.reduce(np.broadcast_arrays(*parts)))
        compare = cast(ast.Compare, value)
        left, right = self.value(compare.left), self.value(compare.comparators[0])
        return cast(Array, _COMPARISONS[type(compare.ops[0])](left, right))

    def value(self, value: ast.expr) -> Array:
        """Return an expression as whole numbers."""
        number = self.constant(value)
        if number is not None:
            return self.fixed(number)
        if isinstance(value, ast.Name):
            known = self.values[value.id]
            return np.where(known, self.fixed(1.0), 0) if known.dtype == bool else known
        if isinstance(value, ast.UnaryOp):
            return -self.value(value.operand)
        if isinstance(value, ast.IfExp):
            return np.where(self.condition(value.test), self.value(value.body), self.value(value.orelse))
        if isinstance(value, ast.BinOp):
            return self.arithmetic(value)
        if is_condition(value):
            return np.where(self.condition(value), self.fixed(1.0), 0)
        return self.call(cast(ast.Call, value))

    def arithmetic(self, value: ast.BinOp) -> Array:
        if isinstance(value.op, ast.Add):
            return self.value(value.left) + self.value(value.right)
        if isinstance(value.op, ast.Sub):
            return self.value(value.left) - self.value(value.right)
        factor, other = factor_of(value, self.step.constants)
        if factor is not None:
            return factor.times(self.value(other))
        left, right = (saturated(self.value(part), PRODUCT_BITS) for part in (value.left, value.right))
        return shifted(left * right, self.step.fraction)

    def call(self, value: ast.Call) -> Array:
        function = cast(ast.Name, value.func).id
        arguments = [self.value(argument) for argument in value.args]
        if function == "abs":
            return np.abs(arguments[0])
        if function == _SATURATED:
            return saturated(arguments[0], STEP_BITS)
        if function in ("min", "max"):
            return (np.minimum if function == "min" else np.maximum)(*arguments)
        return arguments[0]  # flushed


ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
_COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.GtE: np.greater_equal,
    ast.Gt: np.greater,
    ast.LtE: np.less_equal,
    ast.Lt: np.less,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def constant_of(value: ast.expr, constants: Mapping[str, Any]) -> Any:
    """Return the number of an expression of constants, float64 or (neurons,); None if it has other names or calls."""
    if isinstance(value, ast.Constant):
        return np.float64(cast(float, value.value))
    if isinstance(value, ast.Name):
        return constants.get(value.id)
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        number = constant_of(value.operand, constants)
        return None if number is None else -number
    if isinstance(value, ast.BinOp):
        left, right = (constant_of(part, constants) for part in (value.left, value.right))
        if left is None or right is None:
            return None
        return ARITHMETIC[type(value.op)](left, right)
    return None


def factor_of(value: ast.BinOp, constants: Mapping[str, Any]) -> tuple[Factor | None, ast.expr]:
    """Return the constant factor of a product or quotient, and the other part; None if both depend on the input."""
    left, right = (constant_of(part, constants) for part in (value.left, value.right))
    if isinstance(value.op, ast.Div):
        if right is None:
            raise ValueError("a quotient must have a constant divisor")
        return Factor.of(1.0 / right), value.left
    if left is not None:
        return Factor.of(left), value.right
    return (None if right is None else Factor.of(right)), value.left


def multiplies(kind: Kind, constants: Mapping[str, Any]) -> bool:
    """Return whether a step multiplies two values that depend on the input."""
    products = (node for _, value in kind.body for node in ast.walk(value) if isinstance(node, ast.BinOp))
    return any(
        constant_of(node.left, constants) is None and constant_of(node.right, constants) is None
        for node in products
        if isinstance(node.op, ast.Mult)
    )


def unsupported(kind: Kind) -> str:
    """Return which function of a step fixed point does not have; empty for none."""
    for _, value in kind.body:
        for node in ast.walk(value):
            if isinstance(node, ast.Call) and cast(ast.Name, node.func).id in ("exp", "rint", "trunc"):
                return cast(ast.Name, node.func).id
    return ""


def guarded(step: FixedStep) -> FixedStep:
    """Return a step in which each value saturates that could have more than `STEP_BITS`: nothing overflows."""
    guard = _Guard(step)
    body = tuple(guard.assigned(*statement) for statement in step.kind.body)
    return replace(step, kind=replace(step.kind, body=body))


class _Guard:
    """Writes `saturated` around values that could be too large, by the largest magnitude of each."""

    def __init__(self, step: FixedStep) -> None:
        kind = step.kind
        self.step = step
        self.one = int(step.fixed(1.0))
        self.most = dict.fromkeys((*kind.inputs, *(past.name for past in kind.past)), 1 << (INPUT_BITS - 1))
        self.most |= {past.name: self.one for past in kind.past if past.of == kind.spike}
        for state, point in zip(kind.states, step.states, strict=True):
            self.most[state] = 1 << (step.bits - 1 + step.fraction - point)

    def assigned(self, target: str, value: ast.expr) -> tuple[str, ast.expr]:
        """Return an assignment."""
        if is_condition(value):
            self.most[target] = self.one
            return target, self.condition(value)
        written, self.most[target] = self.value(value)
        return target, written

    def condition(self, value: ast.expr) -> ast.expr:
        if isinstance(value, ast.Compare):
            sides = [self.value(side)[0] for side in (value.left, value.comparators[0])]
            return ast.Compare(sides[0], value.ops, sides[1:])
        if isinstance(value, ast.BoolOp):
            return ast.BoolOp(value.op, list(map(self.condition, value.values)))
        if isinstance(value, ast.UnaryOp):
            return ast.UnaryOp(value.op, self.condition(value.operand))
        return value

    def value(self, value: ast.expr) -> tuple[ast.expr, int]:
        """Return an expression and its largest magnitude."""
        number = constant_of(value, self.step.constants)
        if number is not None:
            return value, int(np.abs(self.step.fixed(number)).max())
        written, most = self.unlimited(value)
        limit = 1 << (STEP_BITS - 1)
        return (ast.Call(ast.Name(_SATURATED), [written], []), limit) if most > limit else (written, most)

    def unlimited(self, value: ast.expr) -> tuple[ast.expr, int]:
        if isinstance(value, ast.Name):
            return value, self.most[value.id]
        if is_condition(value):
            return self.condition(value), self.one
        if isinstance(value, ast.UnaryOp):
            operand, most = self.value(value.operand)
            return ast.UnaryOp(value.op, operand), most
        if isinstance(value, ast.IfExp):
            body, of_body = self.value(value.body)
            orelse, of_orelse = self.value(value.orelse)
            return ast.IfExp(self.condition(value.test), body, orelse), max(of_body, of_orelse)
        if isinstance(value, ast.Call):
            arguments, mosts = zip(*map(self.value, value.args), strict=True)
            return ast.Call(value.func, list(arguments), []), max(mosts)
        return self.arithmetic(cast(ast.BinOp, value))

    def arithmetic(self, value: ast.BinOp) -> tuple[ast.expr, int]:
        left, of_left = self.value(value.left)
        right, of_right = self.value(value.right)
        written = ast.BinOp(left, value.op, right)
        if isinstance(value.op, (ast.Add, ast.Sub)):
            return written, of_left + of_right
        factor, other = factor_of(value, self.step.constants)
        if factor is not None:
            product = (of_left if other is value.left else of_right) * int(np.abs(factor.mantissa).max())
            shift = factor.shift
        else:
            product = min(of_left, 1 << (PRODUCT_BITS - 1)) * min(of_right, 1 << (PRODUCT_BITS - 1))
            shift = self.step.fraction
        return written, product << -shift if shift < 0 else (product >> shift) + 1
