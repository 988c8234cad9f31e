"""Operators and functions of each element."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tools.fake_cupy.array import DeviceArray, checked_type, empty, launch, made
from tools.fake_cupy.shapes import astype, copy

UFUNCS = ("cos", "exp", "log", "log1p", "maximum", "minimum", "rint", "sign", "sin", "sqrt", "tanh", "trunc")
_BINARY = ("add", "sub", "mul", "truediv", "pow", "and", "or", "eq", "ne", "lt", "le", "gt", "ge")


def operand(x: Any) -> Any:
    """Return an argument for NumPy; raise TypeError for what CuPy's kernels do not take, such as a NumPy array."""
    if isinstance(x, DeviceArray):
        return x.host
    if isinstance(x, np.generic):
        try:
            checked_type(x.dtype)
            return x
        except ValueError:
            pass
    elif isinstance(x, (bool, int, float, complex)):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def _arrays(arguments: tuple[Any, ...]) -> list[DeviceArray]:
    return [x for x in arguments if isinstance(x, DeviceArray)]


def _result_type(function: Callable[..., Any], operands: list[Any]) -> np.dtype[Any]:
    ones = [np.ones((1,) * max(x.ndim, 1), x.dtype) if isinstance(x, np.ndarray) else x for x in operands]
    with np.errstate(all="ignore"):
        return np.asarray(function(*ones)).dtype


def elementwise(name: str, function: Callable[..., Any], *arguments: Any) -> DeviceArray:
    """Return a function of the elements of arrays and numbers, which broadcast; the result is in C order."""
    operands, arrays = [operand(x) for x in arguments], _arrays(arguments)
    if not arrays:
        raise TypeError(f"{name} needs an array on the device")
    shape = np.broadcast_shapes(*(x.host.shape for x in arrays))
    out = empty(shape, _result_type(function, operands))
    return made(name, lambda: function(*operands), arrays, out)


def _in_place(name: str, function: Callable[..., Any], x: DeviceArray, other: Any) -> DeviceArray:
    if isinstance(other, DeviceArray) and other is not x and np.may_share_memory(other.host, x.host):
        other = copy(other)  # as CuPy does, so that no element is read after it was written
    operands, arrays = [x.host, operand(other)], _arrays((x, other))
    if np.broadcast_shapes(*(a.host.shape for a in arrays)) != x.host.shape:
        raise ValueError(f"non-broadcastable output operand with shape {x.host.shape}")
    _result_type(function, operands)
    launch(name, lambda: function(*operands), arrays, [x])
    return x


def has_operators(x: Any) -> bool:
    """Return whether CuPy leaves an operator to x: `__array_ufunc__` of the instance is None."""
    return getattr(x, "__array_ufunc__", ...) is None


def _operator(name: str, in_place: bool = False) -> Callable[..., Any]:
    function = getattr(np.ndarray, f"__{name}__")

    def run(self: DeviceArray, *others: Any) -> Any:
        if in_place:
            return _in_place(name, function, self, *others)
        if any(has_operators(x) for x in others):
            return NotImplemented
        return elementwise(name, function, self, *others)

    return run


def _array_ufunc(self: DeviceArray, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    # Called for `np.float32(2) * x`, as in CuPy.
    if method == "__call__" and not options and isinstance(inputs[0], np.generic):
        return elementwise(ufunc.__name__, ufunc, *inputs)
    raise TypeError(f"numpy.{ufunc.__name__} of an array on the device")


def _where(condition: DeviceArray, a: Any, b: Any) -> DeviceArray:
    return elementwise("where", np.where, astype(condition, bool, copy=False), a, b)


def clip(self: DeviceArray, a_min: Any = None, a_max: Any = None) -> DeviceArray:
    """Return x limited to a range."""
    return elementwise("clip", lambda x: np.clip(x, a_min, a_max), self)


OPERATORS: dict[str, Callable[..., Any]] = {
    **{f"__{name}__": _operator(name) for name in (*_BINARY, "neg", "abs", "invert")},
    **{f"__r{name}__": _operator(f"r{name}") for name in _BINARY[:4]},
    **{f"__i{name}__": _operator(f"i{name}", in_place=True) for name in _BINARY[:4]},
    "__array_ufunc__": _array_ufunc,
}
METHODS: dict[str, Callable[..., Any]] = {"clip": clip}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: partial(elementwise, name, getattr(np, name)) for name in UFUNCS},
    "where": _where,
}
