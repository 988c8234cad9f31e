"""What makes a Tensor an array to Python and to other libraries: numbers, text, NumPy arrays, DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace, to_numpy


class Conversions:
    """Base class of Tensor: shape and type of `data`, and its conversions."""

    __slots__ = ()
    data: Array
    # data as it is stored: the array itself, or on a GPU spikes as they are packed.
    stored: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of data."""
        return tuple(self.stored.shape)

    @property
    def ndim(self) -> int:
        """The number of axes of data."""
        return self.stored.ndim

    @property
    def size(self) -> int:
        """The number of elements of data."""
        return int(self.stored.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of data: float32, float64 or bool."""
        return self.stored.dtype

    def numpy(self) -> Array:
        """Return data as a NumPy array, copied only from a GPU."""
        return to_numpy(self.data)

    def tolist(self) -> Any:
        """Return data as nested lists of Python numbers or booleans."""
        return self.data.tolist()

    def item(self) -> float:
        """Return the only element of data as a number."""
        return float(self._element("item"))

    def _element(self, op: str) -> Any:
        """Return the only element, as a Python number or boolean."""
        if self.stored.size != 1:
            raise ValueError(f"{op}: a Tensor must have one element, got shape {self.shape}")
        return self.data.item()

    def _needs_gradient(self) -> bool:
        """Return whether an operation on this tensor builds a graph."""
        raise TypeError(f"{type(self).__name__}: a tensor must define _needs_gradient")

    def _check_export(self, op: str, more: str = "") -> None:
        """Raise TypeError where a conversion to an array would lose a gradient."""
        if self._needs_gradient():
            raise TypeError(
                f"{op}: the Tensor requires a gradient, which would be lost; use x.detach() or x.numpy(){more}"
            )

    def __float__(self) -> float:
        return float(self._element("float"))

    def __int__(self) -> int:
        return int(self._element("int"))

    def __bool__(self) -> bool:
        if self.stored.size != 1:
            raise ValueError(f"bool: a Tensor of shape {self.shape} is not one truth value; use .any() or .all()")
        return bool(self.data.item())

    def __format__(self, spec: str) -> str:
        return format(float(self._element("format")), spec) if spec else repr(self)

    def __round__(self, digits: int | None = None) -> float:
        return round(float(self._element("round")), digits)

    def __len__(self) -> int:
        if not self.stored.ndim:
            raise TypeError("len: a Tensor of shape () has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        numbers = np.array2string(self.numpy(), threshold=20, edgeitems=3 if self.ndim < 3 else 1, prefix="Tensor(")
        return f"Tensor({numbers})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return data as a NumPy array; see `numpy.asarray`.

        Raises:
            TypeError: the tensor requires a gradient, which the array would lose.
            ValueError: copy is False, and the type or the device requires a copy.
        """
        self._check_export("np.asarray", "; of a list of Tensors, np.stack makes one")
        array = self.numpy()
        converted = array if dtype is None else array.astype(dtype, copy=False)
        if copy is False and converted is not self.data:
            reason = "data lies on the GPU" if array is not self.data else f"data is {array.dtype}"
            raise ValueError(f"np.asarray: copy must not be False, {reason}")
        return converted.copy() if copy and converted is self.data else converted

    def __dlpack__(self, **options: Any) -> Any:
        """Return data as a DLPack capsule, without a copy.

        Raises:
            TypeError: the tensor requires a gradient, which the other library would lose.
        """
        self._check_export("dlpack")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the type and the number of the device of data, in DLPack's numbers."""
        kind, number = self.data.__dlpack_device__()
        return int(kind), int(number)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The address of data on the GPU, for Numba, PyTorch and others."""
        # AttributeError, so that libraries see a tensor without the attribute and leave it to the tensor's operators.
        if namespace(self.data) is np:
            raise AttributeError("Tensor: __cuda_array_interface__ exists on a GPU only; data is on the CPU")
        if self._needs_gradient():
            raise AttributeError("Tensor: __cuda_array_interface__ would lose the gradient; use x.detach() or x.data")
        interface: dict[str, Any] = self.data.__cuda_array_interface__  # type: ignore[attr-defined]
        return interface
