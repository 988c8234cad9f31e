"""Arrays with named axes and labels along them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from cuslayer.backend import Array
from cuslayer.extras import optional


@dataclass(frozen=True)
class Labels:
    """Names and labels of the axes of an array.

    Attributes:
        dims: the name of each axis: "time", "sample", and "neuron" or "row", "column", "channel".
        coords: for each label name, its axis and the labels along it; time in ms.
    """

    dims: tuple[str, ...]
    coords: Mapping[str, tuple[str, Array]]


class Labelled(NDArrayOperatorsMixin):
    """A NumPy array with a name for each axis and labels along it.

    It has the methods and operators of the array; their results are plain arrays.

    Attributes:
        values: the array.
        name: the name of the quantity.
        dims: the name of each axis.
        coords: labels by name, each along one axis; time in ms.
    """

    def __init__(self, name: str, values: Array, labels: Labels) -> None:
        self.name, self.values, self._labels = name, values, labels

    @property
    def dims(self) -> tuple[str, ...]:
        """The name of each axis."""
        return self._labels.dims

    @property
    def coords(self) -> dict[str, Array]:
        """Labels by name: along the axis of that name, or along "neuron" for the position of selected neurons."""
        return {name: labels for name, (_, labels) in self._labels.coords.items()}

    def to_xarray(self) -> Any:
        """Return an `xarray.DataArray` with the same values and labels.

        Raises:
            ImportError: xarray is not installed.
        """
        return xarray().DataArray(self.values, dims=self.dims, coords=dict(self._labels.coords), name=self.name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.values, dtype=dtype, copy=True) if copy else np.asarray(self.values, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = (x.values if isinstance(x, Labelled) else x for x in inputs)
        return getattr(ufunc, method)(*plain, **options)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Any:
        if name == "values":  # not set yet, in an object that copy or pickle is creating
            raise AttributeError(name)
        return getattr(self.values, name)

    def __repr__(self) -> str:
        axes = ", ".join(f"{dim} {size}" for dim, size in zip(self.dims, self.values.shape, strict=True))
        return f"Labelled({self.name}: {axes}; {self.values.dtype})"


def xarray() -> Any:
    """Return the module xarray; raise ImportError if it is not installed."""
    return optional("to_xarray", "xarray", "xarray")
