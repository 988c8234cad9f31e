"""NumPy's elementwise functions and sums of large arrays: in parts, on every core, in memory of the pool."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer.backend import Array, contiguous, namespace, numeric_type
from cuslayer.kernels.host.memory import empty

# Smaller arrays are computed at once: to start the threads would take longer.
_LEAST = 1 << 16
_GRAIN = 1 << 14


def computed(function: Callable[..., Any], *arrays: Array) -> Array:
    """Return a function of NumPy, such as `numpy.add`, of arrays that broadcast. Spikes count as 1.0."""
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    out = empty(shape, np.result_type(*(numeric_type(x.dtype) for x in arrays)))
    return _write(function, out, arrays, dtype=out.dtype)


def in_order(view: Array) -> Array:
    """Return a view of an array, on any device, with its elements in C order, copied only if necessary."""
    if namespace(view) is not np or view.flags.c_contiguous:
        return contiguous(view)
    return _write(_copy, empty(view.shape, view.dtype), (view,))


def _copy(x: Array, out: Array) -> None:
    out[...] = x


def _write(function: Callable[..., Any], out: Array, arrays: tuple[Array, ...], **options: Any) -> Array:
    if out.size < _LEAST:
        function(*arrays, out=out, **options)
        return out
    from cuslayer._base.parallel import parallel_for

    settings = np.geterr()
    flat = all(x.ndim == 0 or (x.shape == out.shape and x.flags.c_contiguous) for x in arrays)
    if flat:
        parts = [x if x.ndim == 0 else x.reshape(-1) for x in arrays]
        target = out.reshape(-1)
    else:
        parts = [x if x.ndim == 0 else np.broadcast_to(x, out.shape) for x in arrays]
        target = out

    def work(first: int, last: int) -> None:
        with np.errstate(**settings):  # of the calling thread, on every thread
            function(*(x if x.ndim == 0 else x[first:last] for x in parts), out=target[first:last], **options)

    parallel_for(work, len(target), grain=_GRAIN if flat else 1)
    return out


def sum_of_first(x: Array) -> Array:
    """Return the sum of x over its first axis."""
    from cuslayer._base.parallel import parallel_for

    flat = x.reshape(len(x), math.prod(x.shape[1:]))
    sums = np.empty(flat.shape[1], x.dtype)

    def work(first: int, last: int) -> None:
        np.add.reduce(flat[:, first:last], axis=0, out=sums[first:last])

    parallel_for(work, len(sums), grain=_GRAIN)
    return sums.reshape(x.shape[1:])
