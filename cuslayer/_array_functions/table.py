"""The table of NumPy's functions. A row is a function of arrays that returns its result and its pullback.

A row defines the public function on tensors, which ``np.NAME(tensor)`` calls, and methods and operators of Tensor::

    @function(np.exp, methods="exp", saves="result")
    def exp(x):
        out = namespace(x).exp(numeric(x))
        return out, lambda g: g * out
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import IMPLEMENTATIONS, Axis, TensorLike
from cuslayer._tape import Number, Pullback, Tensor, apply, as_tensor
from cuslayer._tape import saves as mark
from cuslayer.backend import Array, numeric_type

P = ParamSpec("P")
X = TypeVar("X")
F = TypeVar("F", bound=Callable[..., Any])
# The result of a row, and its pullback, or None if no gradient passes.
Row: TypeAlias = "tuple[Array, Pullback | None]"

_OPERANDS = (Tensor, int, float, complex, np.generic, np.ndarray, list, tuple)


def implements(*functions: object, methods: str = "") -> Callable[[F], F]:
    """Use a function on tensors as the implementation of NumPy's functions, and as methods of Tensor by these names."""

    def register(implementation: F) -> F:
        IMPLEMENTATIONS.update(dict.fromkeys(functions, implementation))
        for name in methods.split():
            setattr(Tensor, name, implementation)
            if implementation.__name__.startswith("_"):  # Python's messages for wrong calls use the name
                implementation.__qualname__ = f"Tensor.{name}"
        return implementation

    return register


def function(
    *functions: object, methods: str = "", arrays: int = 1, saves: str | None = None
) -> Callable[[Callable[Concatenate[X, P], Row]], Callable[Concatenate[TensorLike, P], Tensor]]:
    """Turn a row, whose first arguments are arrays, into a function on tensors; see `implements`.

    `arrays` is the number of arrays, 0 if the first argument is a sequence of arrays; `saves` says which arrays the
    pullback reads, as in `cuslayer._tape.saves`.
    """

    def add(row: Callable[Concatenate[X, P], Row]) -> Callable[Concatenate[TensorLike, P], Tensor]:
        signature, row = inspect.signature(row), check.operation(row)
        names = list(signature.parameters)[: arrays or 1]
        operation = mark(saves)(row if arrays else _of_sequence(row))

        @wraps(row)
        def on_tensors(*given: object, **options: object) -> Tensor:
            if len(given) != len(names):
                given, options = _bound(row.__name__, signature, names, given, options)
            return apply(operation, *(given if arrays else _each(row.__name__, given[0])), **options)

        return implements(*functions, methods=methods)(_signed(on_tensors, signature))

    return add


def binary(
    *functions: object, operators: str = "", commutes: bool = False, methods: str = "", saves: str | None = None
) -> Callable[[Callable[[Array, Array], Row]], Callable[[TensorLike, TensorLike], Tensor]]:
    """Turn a row of two operands, which broadcast, into a function on tensors, like `function`; scalars widen no type.

    `operators` has the names of the operator's method and of the reflected method, which exchanges the operands unless
    the operation `commutes`.
    """

    def add(row: Callable[[Array, Array], Row]) -> Callable[[TensorLike, TensorLike], Tensor]:
        signature, row = inspect.signature(row), mark(saves)(check.operation(row))

        @wraps(row)
        def on_tensors(*given: TensorLike, **options: object) -> Tensor:
            if len(given) != 2 or options:
                given, _ = _bound(row.__name__, signature, list(signature.parameters), given, options)
            return apply(row, *operands(*given))

        def operate(self: Tensor, other: object) -> Any:
            return apply(row, self, _operand(other, self)) if _is_operand(other) else NotImplemented

        def operate_reflected(self: Tensor, other: object) -> Any:
            return apply(row, _operand(other, self), self) if _is_operand(other) else NotImplemented

        for name, method in zip(operators.split(), (operate, operate if commutes else operate_reflected), strict=False):
            setattr(Tensor, name, method)
        return implements(*functions, methods=methods)(_signed(on_tensors, signature))

    return add


def _signed(on_tensors: F, signature: inspect.Signature) -> F:
    """Give a function on tensors the signature of its row, except for the return type."""
    on_tensors.__signature__ = signature.replace(return_annotation="Tensor")  # type: ignore[attr-defined]
    return on_tensors


def operands(a: TensorLike, b: TensorLike) -> tuple[Any, Any]:
    """Return two operands, at least one of them a tensor; a plain number does not widen the other."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a, b = (a, as_tensor(b)) if isinstance(a, (int, float)) else (as_tensor(a), b)
    return (a, number_like(b, a)) if isinstance(a, Tensor) else (number_like(a, b), b)


def _is_operand(x: object) -> bool:
    return isinstance(x, _OPERANDS) or hasattr(x, "__array__")


def _operand(x: object, other: Tensor) -> Any:
    return x if isinstance(x, Tensor) else number_like(x, other)


def _bound(
    name: str, signature: inspect.Signature, names: list[str], given: tuple[object, ...], options: dict[str, object]
) -> tuple[tuple[TensorLike, ...], dict[str, object]]:
    """Return the arguments with these names, which are arrays, and the other arguments by name."""
    try:
        arguments = signature.bind(*given, **options).arguments
    except TypeError as problem:
        raise TypeError(f"{name}: {problem}") from None
    return tuple(arguments.pop(array) for array in names), arguments


def _of_sequence(row: Callable[..., Row]) -> Callable[..., Row]:
    """Return a row of a sequence of arrays as a row of several arrays."""

    @wraps(row)
    def operation(*arrays: Array, **options: object) -> Row:
        return row(arrays, **options)

    return operation


def _each(name: str, arrays: Any) -> list[TensorLike]:
    try:
        return list(arrays)
    except TypeError:
        raise TypeError(f"{name}: arrays must be a sequence of arrays, got {type(arrays).__name__}") from None


def number_like(value: object, x: Any) -> Any:
    """Return value; a plain number becomes a `Number` of x's type, so that no result is wider."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return Number(np.asarray(value, numeric_type(x.dtype))[()])
    return value


class AxisError(np.exceptions.AxisError):
    """An axis is out of range; NumPy's own error ignores its arguments."""

    def __str__(self) -> str:
        return str(self.args[0])


def one_axis(axis: Any, ndim: int) -> int:
    """Return an axis of an array with `ndim` axes, counted from 0."""
    try:
        found = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {type(axis).__name__}") from None
    if not -ndim <= found < ndim:
        raise AxisError(f"axis {found} is out of range for an array of {ndim} axes")
    return found % ndim


def all_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return the axes that `axis` names, counted from 0: all for None, else one or several."""
    if axis is None:
        return tuple(range(ndim))
    named = axis if isinstance(axis, (tuple, list)) else (axis,)
    found = tuple(one_axis(a, ndim) for a in named)
    if len(set(found)) != len(found):
        raise ValueError(f"axis must name each axis once, got {axis}")
    return found
