"""Array protocols of Tensor for Python and other libraries: numbers, text, NumPy's functions, DLPack.

A NumPy function in `IMPLEMENTATIONS` calls cuslayer's function of the same name. Any other runs on the arrays and
returns NumPy's result; if a gradient would be lost, it raises TypeError. See NumPy's NEP 13 and 18.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.backend import Array, DType, namespace, to_numpy

Axis: TypeAlias = "int | Sequence[int] | None"
# What becomes a tensor: operators take it beside one.
TensorLike: TypeAlias = "ArrayLike[Any] | npt.ArrayLike"
TensorT = TypeVar("TensorT", bound="ArrayLike[Any]")

# NumPy's functions and ours; `cuslayer._array_functions.table` fills it.
IMPLEMENTATIONS: dict[Any, Callable[..., Any]] = {}
_signature = cache(inspect.signature)

# Functions with integers, booleans, shapes, types or text as results: no gradient can be lost.
_WITHOUT_GRADIENT = frozenset(
    getattr(np, name)
    for name in (
        *("allclose", "argsort", "argwhere", "array2string", "array_equal", "array_equiv", "array_repr", "array_str"),
        *("can_cast", "count_nonzero", "empty_like", "flatnonzero", "full_like", "isclose", "iscomplexobj", "isfinite"),
        *("isin", "isinf", "isnan", "isrealobj", "may_share_memory", "ndim", "nonzero", "ones_like", "result_type"),
        *("searchsorted", "shape", "shares_memory", "signbit", "size", "zeros_like"),
        "where",  # with one argument, the indices of nonzero elements
    )
)
_INSTEAD = {
    "np.add.accumulate": "np.cumsum",
    "np.add.reduce": "np.sum",
    "np.block": "np.concatenate",
    "np.dstack": "np.stack",
    "np.hstack": "np.concatenate",
    "np.inner": "np.tensordot or np.einsum",
    "np.maximum.reduce": "np.max",
    "np.minimum.reduce": "np.min",
    "np.outer": "np.einsum",
    "np.vstack": "np.concatenate",
}


class _OnTheClass:
    """A method that an instance does not have: CuPy looks for it there, and leaves ``array + x`` to the tensor."""

    def __init__(self, method: Callable[..., object]) -> None:
        self._method = method

    def __get__(self, instance: object, owner: type) -> Callable[..., object] | None:
        return self._method if instance is None else None


class ArrayLike(Generic[TensorT]):
    """Base class of Tensor, which is TensorT: conversions, NumPy's protocols, methods."""

    __slots__ = ()
    data: Array
    # The stored form of data: the array itself, or packed spikes on a GPU.
    stored: Any

    def numpy(self) -> Array:
        """Return data as a NumPy array, copied only from a GPU."""
        return to_numpy(self.data)

    def tolist(self) -> Any:
        """Return data as nested lists of Python numbers or booleans."""
        return self.data.tolist()

    @check.operation
    def item(self) -> float:
        """Return the only element of data as a number."""
        return float(self._element())

    def _element(self) -> Any:
        """Return the only element, as a Python number or boolean."""
        if self.stored.size != 1:
            raise ValueError(f"a Tensor must have one element, got shape {self.shape}")
        return self.data.item()

    def _needs_gradient(self) -> bool:
        """Return whether an operation on this tensor builds a graph."""
        raise TypeError("a tensor must define _needs_gradient")

    def _check_export(self, more: str = "") -> None:
        """Raise TypeError if a conversion to an array would lose a gradient."""
        if self._needs_gradient():
            raise TypeError(f"the Tensor requires a gradient, which would be lost; use x.detach() or x.numpy(){more}")

    @check.operation("float")
    def __float__(self) -> float:
        return float(self._element())

    @check.operation("int")
    def __int__(self) -> int:
        return int(self._element())

    @check.operation("bool")
    def __bool__(self) -> bool:
        if self.stored.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} is not one truth value; use .any() or .all()")
        return bool(self.data.item())

    @check.operation("format")
    def __format__(self, spec: str) -> str:
        return format(float(self._element()), spec) if spec else repr(self)

    @check.operation("round")
    def __round__(self, digits: int | None = None) -> float:
        return round(float(self._element()), digits)

    @check.operation("len")
    def __len__(self) -> int:
        if not self.stored.ndim:
            raise TypeError("a Tensor of shape () has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        numbers = np.array2string(self.numpy(), threshold=20, edgeitems=3 if self.ndim < 3 else 1, prefix="Tensor(")
        return f"Tensor({numbers})"

    @check.operation("np.asarray")
    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return data as a NumPy array; see `numpy.asarray`."""
        self._check_export("; of a list of Tensors, np.stack makes one")
        array = self.numpy()
        converted = array if dtype is None else array.astype(dtype, copy=False)
        if copy is False and converted is not self.data:
            reason = "data lies on the GPU" if array is not self.data else f"data is {array.dtype}"
            raise ValueError(f"copy must not be False, {reason}")
        return converted.copy() if copy and converted is self.data else converted

    @check.operation("dlpack")
    def __dlpack__(self, **options: Any) -> object:
        """Return data as a DLPack capsule, without a copy."""
        self._check_export()
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the type and the number of data's device, as DLPack's numbers."""
        kind, number = self.data.__dlpack_device__()
        return int(kind), int(number)

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        """The address of data on the GPU, for Numba, PyTorch and others."""
        # An AttributeError, so that libraries find no attribute and leave the operation to the tensor's operators.
        if namespace(self.data) is np:
            raise AttributeError("Tensor: __cuda_array_interface__ exists on a GPU only; data is on the CPU")
        if self._needs_gradient():
            raise AttributeError("Tensor: __cuda_array_interface__ would lose the gradient; use x.detach() or x.data")
        interface: dict[str, Any] = self.data.__cuda_array_interface__  # type: ignore[attr-defined]
        return interface

    @_OnTheClass
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> object:
        name = f"{_name(ufunc)}.{method}" if method != "__call__" else _name(ufunc)
        if method != "__call__":
            raise TypeError(f"{name}: not supported for Tensors; use {_INSTEAD.get(name, 'x.numpy()')}")
        for option in options:
            hint = f"; write array = {name}(array, x), or use x.numpy()" if option == "out" else ""
            raise TypeError(f"{name}: {option}= is not supported for Tensors{hint}")
        if ufunc in IMPLEMENTATIONS:
            return IMPLEMENTATIONS[ufunc](*inputs)
        return _on_arrays(ufunc, name, inputs, {})

    def __array_function__(
        self, function: Callable[..., object], types: object, arguments: tuple[object, ...], options: dict[str, object]
    ) -> object:
        name = _name(function)
        if function not in IMPLEMENTATIONS or (function is np.where and len(arguments) == 1):
            return _on_arrays(function, name, arguments, options)
        implementation = IMPLEMENTATIONS[function]
        given = {key: value for key, value in options.items() if key not in ("out", "dtype") or value is not None}
        _check_arguments(name, _signature(implementation), arguments, given)
        return implementation(*arguments, **given)

    def __contains__(self, value: object) -> bool:
        found = self == value
        return isinstance(found, ArrayLike) and bool(found.data.any())

    def __iter__(self) -> Iterator[TensorT]:
        return map(self.__getitem__, range(len(self)))

    @property
    def T(self) -> TensorT:
        """The tensor with its axes reversed."""
        return self.transpose()

    # Parameters are dictionary keys.
    __hash__ = object.__hash__

    # Members of Tensor, and the operators and methods from the table in `cuslayer._array_functions`.
    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def ndim(self) -> int: ...
        @property
        def dtype(self) -> DType: ...
        def __add__(self, other: TensorLike) -> TensorT: ...
        def __radd__(self, other: TensorLike) -> TensorT: ...
        def __sub__(self, other: TensorLike) -> TensorT: ...
        def __rsub__(self, other: TensorLike) -> TensorT: ...
        def __mul__(self, other: TensorLike) -> TensorT: ...
        def __rmul__(self, other: TensorLike) -> TensorT: ...
        def __truediv__(self, other: TensorLike) -> TensorT: ...
        def __rtruediv__(self, other: TensorLike) -> TensorT: ...
        def __pow__(self, other: TensorLike) -> TensorT: ...
        def __rpow__(self, other: TensorLike) -> TensorT: ...
        def __matmul__(self, other: TensorLike) -> TensorT: ...
        def __rmatmul__(self, other: TensorLike) -> TensorT: ...
        def __and__(self, other: TensorLike) -> TensorT: ...
        def __or__(self, other: TensorLike) -> TensorT: ...
        def __xor__(self, other: TensorLike) -> TensorT: ...
        def __rand__(self, other: TensorLike) -> TensorT: ...
        def __ror__(self, other: TensorLike) -> TensorT: ...
        def __rxor__(self, other: TensorLike) -> TensorT: ...
        def __eq__(self, other: object) -> TensorT: ...  # type: ignore[override]
        def __ne__(self, other: object) -> TensorT: ...  # type: ignore[override]
        def __lt__(self, other: TensorLike) -> TensorT: ...
        def __le__(self, other: TensorLike) -> TensorT: ...
        def __gt__(self, other: TensorLike) -> TensorT: ...
        def __ge__(self, other: TensorLike) -> TensorT: ...
        def __neg__(self) -> TensorT: ...
        def __pos__(self) -> TensorT: ...
        def __abs__(self) -> TensorT: ...
        def __invert__(self) -> TensorT: ...
        def __getitem__(self, index: object) -> TensorT: ...
        def __setitem__(self, index: object, value: TensorLike) -> None: ...
        def exp(self) -> TensorT: ...
        def log(self) -> TensorT: ...
        def sqrt(self) -> TensorT: ...
        def tanh(self) -> TensorT: ...
        def abs(self) -> TensorT: ...
        def clip(
            self,
            a_min: TensorLike | None = None,
            a_max: TensorLike | None = None,
            *,
            min: TensorLike | None = None,
            max: TensorLike | None = None,
        ) -> TensorT: ...
        def astype(self, dtype: npt.DTypeLike) -> TensorT: ...
        def copy(self) -> TensorT: ...
        def sum(self, axis: Axis = None, keepdims: bool = False) -> TensorT: ...
        def mean(self, axis: Axis = None, keepdims: bool = False) -> TensorT: ...
        def prod(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT: ...
        def repeat(self, repeats: int, axis: int | None = None) -> TensorT: ...
        def var(self, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> TensorT: ...
        def std(self, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> TensorT: ...
        def max(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT: ...
        def min(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT: ...
        def any(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT: ...
        def all(self, axis: Axis = None, *, keepdims: bool = False) -> TensorT: ...
        def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Array: ...
        def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Array: ...
        def cumsum(self, axis: int | None = None) -> TensorT: ...
        def dot(self, other: TensorLike) -> TensorT: ...
        def reshape(self, *shape: int | Sequence[int]) -> TensorT: ...
        def ravel(self) -> TensorT: ...
        def flatten(self) -> TensorT: ...
        def transpose(self, *axes: int | Sequence[int]) -> TensorT: ...
        def swapaxes(self, axis1: int, axis2: int) -> TensorT: ...
        def squeeze(self, axis: Axis = None) -> TensorT: ...


def _check_arguments(
    name: str, signature: inspect.Signature, arguments: tuple[object, ...], options: dict[str, object]
) -> None:
    """Raise TypeError if a NumPy function was called with an argument that its implementation lacks."""
    for option in options.keys() - signature.parameters.keys():
        raise TypeError(f"{name}: {option}= is not supported for Tensors")
    try:
        signature.bind(*arguments, **options)
    except TypeError as problem:
        allowed = ", ".join(signature.parameters)
        raise TypeError(f"{name}: {problem}; for Tensors its arguments are {allowed}") from None


def _name(function: Callable[..., object]) -> str:
    """Return the name of a NumPy function, such as np.linalg.norm."""
    name = str(function.__name__)
    if getattr(np, name, None) is function:
        return f"np.{name}"
    return f"{function.__module__}.{name}".replace("numpy.", "np.", 1) if hasattr(function, "__module__") else name


def _on_arrays(
    function: Callable[..., object], name: str, arguments: tuple[object, ...], options: dict[str, object]
) -> Any:
    """Return NumPy's result for the arrays of tensors; raise TypeError if it would lose a gradient."""
    if function not in _WITHOUT_GRADIENT and any(x._needs_gradient() for x in _tensors((arguments, options))):
        instead = _INSTEAD.get(name, "a function of cuslayer.functions")
        raise TypeError(f"{name}: no gradient for Tensors; use {instead}, or x.detach() for the numbers alone")
    return function(*_arrays(arguments), **_arrays(options))


def _tensors(value: object) -> Iterable[ArrayLike[Any]]:
    """Yield each tensor in nested lists, tuples and dictionaries."""
    if isinstance(value, ArrayLike):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _arrays(value: Any) -> Any:
    """Return nested lists, tuples and dictionaries with NumPy arrays in place of tensors and arrays on a GPU."""
    if isinstance(value, ArrayLike):
        return value.numpy()
    if type(value) in (list, tuple):
        return type(value)(map(_arrays, value))
    if type(value) is dict:
        return {key: _arrays(part) for key, part in value.items()}
    return value if namespace(value) is np else to_numpy(value)
