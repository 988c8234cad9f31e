"""The dense layer on the CPU: sums of weight rows for spikes, matrix products for numbers.

Where a few spikes are among many bins, the weight row of each is added. Where many are, sums of subsets of rows are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.dense import subsets
from cuslayer.kernels.host.blas import matmul
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList, by_column


@compiled
def gather(total: Any, first: int, last: int, index: Any, table: Any, at: int) -> None:
    """Write to total the sum of the rows index[first:last] of the table, from column `at` on."""
    total[:] = 0
    size = total.size
    e = first
    # Four rows at a time: the sum is loaded and stored once for all four.
    while e + 4 <= last:
        a, b = table[index[e], at : at + size], table[index[e + 1], at : at + size]
        c, d = table[index[e + 2], at : at + size], table[index[e + 3], at : at + size]
        for j in range(size):
            total[j] += (a[j] + b[j]) + (c[j] + d[j])
        e += 4
    while e < last:
        a = table[index[e], at : at + size]
        for j in range(size):
            total[j] += a[j]
        e += 1


@compiled
def _gather(first: int, last: int, start: Any, index: Any, table: Any, out: Any) -> None:
    for row in range(first, last):
        gather(out[row], start[row], start[row + 1], index, table, 0)


def forward(x: SpikeList | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, SpikeList):
        return matmul(x.astype(w.dtype, copy=False), w)
    return subsets.forward(x.bits, w) if is_busy(x, w) else walk(x, w)


def walk(x: SpikeList, w: Array) -> Array:
    """Return x w by adding the row of w of each spike, four at a time, in the order of the kernels of a GPU."""
    out = empty((x.shape[0], w.shape[1]), w.dtype)
    parallel_for(_gather, len(out), x.start, x.index, w, out, grain=32)
    return out


def is_busy(x: SpikeList, w: Array) -> bool:
    """Return whether `forward` adds subsets of rows."""
    return subsets.pay(x.count, x.shape[0], w, subsets.LISTED)


def weight_adjoint(x: SpikeList | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, SpikeList):
        return matmul(x.T.astype(g.dtype, copy=False), g).copy()
    if subsets.pay(x.count, x.shape[1], g, subsets.SORTED):
        return subsets.weight_adjoint(x.bits, g)
    return walk_back(x, g)


def walk_back(x: SpikeList, g: Array) -> Array:
    """Return x' g by adding the row of g of each spike."""
    begin, rows = by_column(x.start, x.index, x.shape[1])
    w = np.empty((x.shape[1], g.shape[1]), g.dtype)
    parallel_for(_gather, len(w), begin, rows, g, w, grain=16)
    return w


def deferred_input_adjoint(g: Array, w: Array, shape: tuple[int, ...]) -> Array:
    """Return g w' in a shape; a GPU computes it where it is used."""
    return input_adjoint(g, w).reshape(shape)


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
