"""Reductions, cumulative sums and sorting."""

from __future__ import annotations

import math
from functools import partial, partialmethod
from typing import Any

import numpy as np

from tools.fake_cupy.array import DeviceArray, checked_type, empty, launch, made, view
from tools.fake_cupy.shapes import astype, copy, ravel, reshape

REDUCTIONS = ("all", "any", "argmax", "argmin", "max", "min", "prod", "sum")

# Threads of a block of CuPy's kernels for cumulative sums.
_SCAN_BLOCK = 512


def reduction(self: DeviceArray, name: str, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> DeviceArray:
    """Return a reduction over axes: one kernel, though of a whole array CUB may make two."""
    options = {"axis": axis, "keepdims": keepdims} | ({} if dtype is None else {"dtype": checked_type(dtype)})
    function = partial(getattr(np.ndarray, name), **options)
    host = self.host
    sample = np.asarray(function(np.ones((1,) * host.ndim, host.dtype)))
    over = range(host.ndim) if axis is None else [a % host.ndim for a in np.atleast_1d(axis)]
    shape = tuple(1 if a in over else n for a, n in enumerate(host.shape) if keepdims or a not in over)
    return made(name, lambda: function(host), [self], empty(shape, sample.dtype))


def cumsum(self: DeviceArray, axis: int | None = None, dtype: Any = None) -> DeviceArray:
    """Return cumulative sums. Along an axis that is not the last, the result is not in C order, as in CuPy."""
    options = {} if dtype is None else {"dtype": checked_type(dtype)}
    wanted = np.cumsum(np.ones((1,) * self.host.ndim, self.host.dtype), axis, **options).dtype
    result = astype(self, wanted, "C")
    if axis is None:
        flat = ravel(result)
        host = flat.host
        launch("cumsum", lambda: np.cumsum(host, out=host), [flat], [flat])
        return flat
    last = view(result, np.moveaxis(result.host, axis, -1))
    rows = reshape(last, (math.prod(last.shape[:-1]), last.shape[-1]))
    sums = rows.host
    launch("cumsum", lambda: np.cumsum(sums, axis=-1, out=sums), [rows], [rows])
    _add_block_sums(rows)
    return view(rows, np.moveaxis(rows.host.reshape(last.shape), -1, axis))


def _add_block_sums(rows: DeviceArray) -> None:
    """Count the further kernels of long rows: cumulative sums of the sums of blocks, and their addition to the rows."""
    if rows.host.shape[-1] > _SCAN_BLOCK:
        sums = view(rows, rows.host[:, _SCAN_BLOCK - 1 :: _SCAN_BLOCK])
        launch("cumsum", lambda: None, [sums], [sums])
        _add_block_sums(sums)
        launch("cumsum", lambda: None, [sums, rows], [rows])


METHODS: dict[str, Any] = {name: partialmethod(reduction, name) for name in REDUCTIONS} | {"cumsum": cumsum}


def sort(x: DeviceArray, axis: int = -1) -> DeviceArray:
    """Return a copy of x that is sorted along an axis."""
    out = copy(x)
    host = out.host
    launch("sort", lambda: host.sort(axis=axis), [out], [out])
    return out


def argsort(x: DeviceArray, axis: int = -1, kind: str | None = None) -> DeviceArray:
    """Return the indices that sort x along an axis; CuPy has a stable order only."""
    if kind not in (None, "stable"):
        raise ValueError(f"kind can only be None or 'stable', got {kind!r}")
    host = x.host
    return made("argsort", lambda: host.argsort(axis, "stable"), [x], empty(host.shape, np.int64))


def take_along_axis(x: DeviceArray, index: DeviceArray, axis: int) -> DeviceArray:
    """Return the elements of x at indices along an axis."""
    out = empty(index.host.shape, x.host.dtype)
    host, places = x.host, index.host
    return made("take_along_axis", lambda: np.take_along_axis(host, places, axis), [x, index], out)


def cumprod(x: DeviceArray, axis: int) -> DeviceArray:
    """Return cumulative products along an axis."""
    host = x.host
    return made("cumprod", lambda: host.cumprod(axis), [x], empty(host.shape, host.dtype))


FUNCTIONS: dict[str, Any] = {each.__name__: each for each in (sort, argsort, take_along_axis, cumprod)}
