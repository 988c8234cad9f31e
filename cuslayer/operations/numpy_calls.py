"""NumPy's functions on Tensors: what np.exp(x), array + x and np.concatenate([x, y]) do.

A function listed by `implements` returns what cuslayer's function of that name returns. Any other runs on the arrays
and returns NumPy's result, unless a gradient would be lost: then it raises TypeError. See NumPy's NEP 13 and NEP 18.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import numpy as np

from cuslayer.backend import namespace, to_numpy
from cuslayer.operations.conversions import Conversions

F = TypeVar("F", bound=Callable[..., Any])

_implementations: dict[Any, Callable[..., Any]] = {}
_signature = cache(inspect.signature)

# Functions whose results are integers, booleans, shapes, types or text: there is no gradient that could be lost.
_WITHOUT_GRADIENT = frozenset(
    getattr(np, name)
    for name in (
        *("allclose", "argsort", "argwhere", "array2string", "array_equal", "array_equiv", "array_repr", "array_str"),
        *("can_cast", "count_nonzero", "empty_like", "flatnonzero", "full_like", "isclose", "iscomplexobj", "isfinite"),
        *("isin", "isinf", "isnan", "isrealobj", "may_share_memory", "ndim", "nonzero", "ones_like", "result_type"),
        *("searchsorted", "shape", "shares_memory", "signbit", "size", "zeros_like"),
        "where",  # of one argument, the indices of what is not 0
    )
)
_INSTEAD = {
    "np.add.accumulate": "np.cumsum",
    "np.add.reduce": "np.sum",
    "np.block": "np.concatenate",
    "np.dstack": "np.stack",
    "np.hstack": "np.concatenate",
    "np.inner": "np.tensordot or np.einsum",
    "np.linalg.norm": "(x * x).sum() ** 0.5",
    "np.maximum.reduce": "np.max",
    "np.minimum.reduce": "np.min",
    "np.outer": "np.einsum",
    "np.vstack": "np.concatenate",
}


_OPERATORS = {
    "np.add": "+",
    "np.subtract": "-",
    "np.multiply": "*",
    "np.divide": "/",
    "np.power": "**",
    "np.matmul": "@",
    "np.bitwise_and": "&",
    "np.bitwise_or": "|",
    "np.bitwise_xor": "^",
}


def implements(*functions: Any) -> Callable[[F], F]:
    """Make a function the implementation of functions of NumPy for Tensors."""

    def register(implementation: F) -> F:
        _implementations.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


class _OnTheClass:
    """A method that only the class has, where NumPy looks for it.

    On an instance it is None: that is where arrays of CuPy look, and it makes them leave ``array + x`` to the tensor.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, instance: Any, owner: type) -> Any:
        return self._method if instance is None else None


class NumpyCalls:
    """Mixin of Tensor: the two methods that NumPy calls."""

    __slots__ = ()

    @_OnTheClass
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = f"{_name(ufunc)}.{method}" if method != "__call__" else _name(ufunc)
        if method != "__call__":
            raise TypeError(f"{name}: not supported for Tensors; use {_INSTEAD.get(name, 'x.numpy()')}")
        for option in options:
            expression = f"array {_OPERATORS[name]} x" if name in _OPERATORS else f"{name}(array, x)"
            hint = f"; write array = {expression}, or use x.numpy()" if option == "out" else ""
            raise TypeError(f"{name}: {option}= is not supported for Tensors{hint}")
        if ufunc in _implementations:
            return _implementations[ufunc](*inputs)
        return _on_arrays(ufunc, name, inputs, {})

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        name = _name(function)
        if function not in _implementations or (function is np.where and len(arguments) == 1):
            return _on_arrays(function, name, arguments, options)
        implementation = _implementations[function]
        given = {key: value for key, value in options.items() if key not in ("out", "dtype") or value is not None}
        _check_arguments(name, _signature(implementation), arguments, given)
        return implementation(*arguments, **given)


def _check_arguments(name: str, signature: inspect.Signature, arguments: Any, options: Any) -> None:
    """Raise TypeError where a function of NumPy was called with an argument that its implementation lacks."""
    for option in options.keys() - signature.parameters.keys():
        raise TypeError(f"{name}: {option}= is not supported for Tensors")
    try:
        signature.bind(*arguments, **options)
    except TypeError as problem:
        allowed = ", ".join(signature.parameters)
        raise TypeError(f"{name}: {problem}; for Tensors its arguments are {allowed}") from None


def _name(function: Any) -> str:
    """Return the name of a function of NumPy, such as np.linalg.norm."""
    name = str(function.__name__)
    if getattr(np, name, None) is function:
        return f"np.{name}"
    return f"{function.__module__}.{name}".replace("numpy.", "np.", 1) if hasattr(function, "__module__") else name


def _on_arrays(function: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return NumPy's result for the arrays of tensors; raise TypeError where it would lose a gradient."""
    if function not in _WITHOUT_GRADIENT and any(x._needs_gradient() for x in _tensors((arguments, options))):
        instead = _INSTEAD.get(name, "a function of cuslayer.functions")
        raise TypeError(f"{name}: no gradient for Tensors; use {instead}, or x.detach() for the numbers alone")
    return function(*_arrays(arguments), **_arrays(options))


def _tensors(value: Any) -> Iterable[Conversions]:
    """Yield each tensor in nested lists, tuples and dictionaries."""
    if isinstance(value, Conversions):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _arrays(value: Any) -> Any:
    """Return nested lists, tuples and dictionaries with NumPy arrays in place of tensors and arrays on a GPU."""
    if isinstance(value, Conversions):
        return value.numpy()
    if type(value) in (list, tuple):
        return type(value)(map(_arrays, value))
    if type(value) is dict:
        return {key: _arrays(part) for key, part in value.items()}
    return value if namespace(value) is np else to_numpy(value)
