"""Recordings of different lengths in one batch: functions that ignore the steps after the end of a recording.

A padded batch is a tensor (T, N, ...) with `lengths`. Layers and neurons only look back in time, so padding does not
change a recording's own steps. Sums over time or samples use these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._tape import Pullback, Tensor, differentiable, gradients, saves
from cuslayer.backend import Array, namespace, numeric_type, to_device

Lengths = npt.NDArray[np.int64]


def own_steps(lengths: Lengths, steps: int, xp: ModuleType = np) -> Array:
    """Return which steps in a padded batch belong to a recording, boolean (T, N).

    >>> own_steps(np.array([1, 3]), 3).astype(int).tolist()
    [[1, 1], [0, 1], [0, 1]]
    """
    found: Array = np.arange(steps)[:, None] < lengths
    return found if xp is np else to_device(found)


def own(x: Tensor) -> Array:
    """Return the elements of x (T, N, ...) before the ends of the recordings: (total number of steps, 1, ...)."""
    data = x.data
    return data if x.lengths is None else data[own_steps(x.lengths, len(data), namespace(data))][:, None]


def of_length(lengths: Lengths) -> Iterator[tuple[int, Lengths]]:
    """Yield each length with the numbers of its recordings."""
    for length in np.unique(lengths).tolist():
        yield length, np.flatnonzero(lengths == length)


@differentiable
def ended(y: Array, /, *, lengths: Lengths) -> tuple[Array, Pullback]:
    """Return y (T, N, ...) with zeros after the end of each recording, and a pullback that does the same."""
    kept = own_steps(lengths, len(y), namespace(y)).reshape(*y.shape[:2], *(1,) * (y.ndim - 2))
    return y * kept, lambda g: g * kept.astype(g.dtype)


@differentiable
@saves(None)
def sum_of_parts(
    y: Array, /, *, lengths: Lengths, loss: Callable[[Tensor, int, Lengths], Tensor]
) -> tuple[Array, Pullback]:
    """Return the sum of a loss over the recordings of y (T, N, ...), each up to its end.

    Recordings of one length form a part. `loss` takes the part (length, recordings, ...), the length, and the numbers
    of the recordings. If gradients are needed, a part's gradient is computed at once.
    """
    xp, dtype = namespace(y), numeric_type(y.dtype)
    total, found = xp.zeros((), dtype), list[tuple[int, Any, Any]]()
    for length, numbers in of_length(lengths):
        here = xp.asarray(numbers)
        part = Tensor(y[:length, here], requires_grad=True)
        value = loss(part, length, numbers)
        total = total + value.data
        if value.requires_grad:
            found.append((length, here, gradients(value, [part])[0]))

    def pullback(g: Array) -> Array:
        of_y = xp.zeros(y.shape, dtype)
        for length, here, part in found:
            of_y[:length, here] = part
        return of_y * g

    return xp.asarray(total), pullback
