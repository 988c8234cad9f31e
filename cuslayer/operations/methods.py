"""The operators and methods of NumPy's arrays, each an operation that a Tensor differentiates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.operations import arithmetic, comparison, elementwise, indexing, products, reductions, shapes
from cuslayer.operations.base import Axis, Operation, number_like
from cuslayer.operations.conversions import Conversions

TensorT = TypeVar("TensorT", bound="ArrayMethods[Any]")

_NUMBERS = (int, float, complex, np.generic, np.ndarray, list, tuple)


class ArrayMethods(Conversions, Generic[TensorT]):
    """Base class of Tensor, which is TensorT: operators and methods with the names and arguments of `numpy.ndarray`."""

    __slots__ = ()

    @staticmethod
    def _apply(operation: Operation, *arrays: Any, **options: Any) -> TensorT:
        """Return the result of an operation on arrays as a tensor."""
        raise TypeError("ArrayMethods: a tensor must define _apply")

    def _operator(self, operation: Operation, other: Any, reflected: bool = False) -> Any:
        """Return the result of an operator, or NotImplemented if the other operand is not made of numbers."""
        if not isinstance(other, Conversions):
            if not isinstance(other, _NUMBERS) and not hasattr(other, "__array__"):
                return NotImplemented
            other = number_like(other, self)
        return self._apply(operation, other, self) if reflected else self._apply(operation, self, other)

    def __add__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.add, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.subtract, other)

    def __rsub__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.subtract, other, reflected=True)

    def __mul__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.multiply, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.divide, other)

    def __rtruediv__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.divide, other, reflected=True)

    def __pow__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.power, other)

    def __rpow__(self, other: Any) -> TensorT:
        return self._operator(arithmetic.power, other, reflected=True)

    def __matmul__(self, other: Any) -> TensorT:
        return self._operator(products.matmul, other)

    def __rmatmul__(self, other: Any) -> TensorT:
        return self._operator(products.matmul, other, reflected=True)

    def __neg__(self) -> TensorT:
        return self._apply(elementwise.negative, self)

    def __pos__(self) -> TensorT:
        return self.copy()

    def __abs__(self) -> TensorT:
        return self._apply(elementwise.absolute, self)

    def __eq__(self, other: Any) -> TensorT:  # type: ignore[override]
        return self._operator(comparison.equal, other)

    def __ne__(self, other: Any) -> TensorT:  # type: ignore[override]
        return self._operator(comparison.not_equal, other)

    # Parameters are keys of dictionaries.
    __hash__ = object.__hash__

    def __lt__(self, other: Any) -> TensorT:
        return self._operator(comparison.less, other)

    def __le__(self, other: Any) -> TensorT:
        return self._operator(comparison.less_equal, other)

    def __gt__(self, other: Any) -> TensorT:
        return self._operator(comparison.greater, other)

    def __ge__(self, other: Any) -> TensorT:
        return self._operator(comparison.greater_equal, other)

    def __and__(self, other: Any) -> TensorT:
        return self._operator(comparison.bitwise_and, other)

    def __or__(self, other: Any) -> TensorT:
        return self._operator(comparison.bitwise_or, other)

    def __xor__(self, other: Any) -> TensorT:
        return self._operator(comparison.bitwise_xor, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> TensorT:
        return self._apply(comparison.invert, self)

    def __contains__(self, value: Any) -> bool:
        found = self == value
        return isinstance(found, Conversions) and bool(found.data.any())

    def __getitem__(self, index: Any) -> TensorT:
        return self._apply(indexing.take, self, index=_plain_index(index))

    def __iter__(self) -> Iterator[TensorT]:
        return map(self.__getitem__, range(len(self)))

    @property
    def T(self) -> TensorT:
        """The tensor with its axes reversed."""
        return self.transpose()

    def exp(self) -> TensorT:
        """Return the exponential of each element."""
        return self._apply(elementwise.exp, self)

    def log(self) -> TensorT:
        """Return the natural logarithm of each element."""
        return self._apply(elementwise.log, self)

    def sqrt(self) -> TensorT:
        """Return the square root of each element."""
        return self._apply(elementwise.sqrt, self)

    def tanh(self) -> TensorT:
        """Return the hyperbolic tangent of each element."""
        return self._apply(elementwise.tanh, self)

    def abs(self) -> TensorT:
        """Return the absolute value of each element, with gradient 0 at 0."""
        return self._apply(elementwise.absolute, self)

    def clip(self, min: Any = None, max: Any = None) -> TensorT:
        """Return each element limited to [min, max]; see `cuslayer.functions.clip`."""
        if any(isinstance(bound, Conversions) and bound._needs_gradient() for bound in (min, max)):
            return self._apply(
                elementwise.clip_to,
                self,
                *(bound for bound in (min, max) if bound is not None),
                has=(min is not None, max is not None),
            )
        return self._apply(elementwise.clip, self, least=min, most=max)

    def astype(self, dtype: Any) -> TensorT:
        """Return the tensor in another type, float32, float64 or bool; see `cuslayer.functions.astype`."""
        return self._apply(elementwise.astype, self, dtype=dtype)

    def copy(self) -> TensorT:
        """Return a copy, through which the gradient passes."""
        return self._apply(shapes.copy, self)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> TensorT:
        """Return the sum over the given axes, by default all."""
        return self._apply(reductions.sum_over, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> TensorT:
        """Return the mean over the given axes, by default all."""
        return self._apply(reductions.mean_over, self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> TensorT:
        """Return the variance over the given axes, by default all; see `cuslayer.functions.var`."""
        return self._apply(reductions.var, self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> TensorT:
        """Return the standard deviation over the given axes, by default all; see `cuslayer.functions.std`."""
        return self._apply(reductions.std, self, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT:
        """Return the maximum over the given axes, by default all; see `cuslayer.functions.max`."""
        return self._apply(reductions.max_over, self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT:
        """Return the minimum over the given axes, by default all; see `cuslayer.functions.min`."""
        return self._apply(reductions.min_over, self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Array:
        """Return the indices of the maxima along an axis, or one of the flattened data, as an array of integers."""
        return reductions.index_of("argmax", self.data, axis, keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Array:
        """Return the indices of the minima along an axis, or one of the flattened data, as an array of integers."""
        return reductions.index_of("argmin", self.data, axis, keepdims)

    def any(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT:
        """Return whether any element is not 0, over the given axes, by default all."""
        return self._apply(reductions.any_over, self, axis=axis, keepdims=keepdims)

    def all(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT:
        """Return whether all elements are not 0, over the given axes, by default all."""
        return self._apply(reductions.all_over, self, axis=axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> TensorT:
        """Return the cumulative sum along an axis, by default of the flattened tensor."""
        return self._apply(reductions.cumsum, self, axis=axis)

    def dot(self, other: Any) -> TensorT:
        """Return the dot product with another array; see `cuslayer.functions.dot`."""
        return self._operator(products.dot, other)

    def reshape(self, *shape: Any) -> TensorT:
        """Return the same elements in another shape, given as integers or as one tuple."""
        given = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return self._apply(shapes.reshape, self, shape=tuple(given))

    def ravel(self) -> TensorT:
        """Return the same elements along one axis."""
        return self.reshape(-1)

    def flatten(self) -> TensorT:
        """Return a copy of the elements along one axis."""
        return self.copy().reshape(-1)

    def transpose(self, *axes: Any) -> TensorT:
        """Return the tensor with its axes in another order, by default reversed."""
        given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return self._apply(shapes.transpose, self, axes=given)

    def swapaxes(self, axis1: int, axis2: int) -> TensorT:
        """Return the tensor with two axes exchanged."""
        return self._apply(shapes.swapaxes, self, axis1=axis1, axis2=axis2)

    def squeeze(self, axis: Axis = None) -> TensorT:
        """Return the tensor without its axes of size 1, or without the given ones."""
        return self._apply(shapes.squeeze, self, axis=axis)


def _plain_index(index: Any) -> Any:
    """Return an index whose tensors, which must be boolean, are arrays."""
    if isinstance(index, tuple):
        return tuple(map(_plain_index, index))
    if isinstance(index, Conversions):
        if index.dtype != bool:
            raise IndexError(f"take: index must be made of integers or booleans, got a Tensor of {index.dtype}")
        return index.data
    return to_numpy(index) if isinstance(index, np.ndarray) else index
