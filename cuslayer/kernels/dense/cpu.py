"""The dense layer on the CPU: sums of weight rows for spikes, matrix products for numbers.

Where a few inputs fire, the weight row of each is added. Where many do, the sums of their rows in each six neighbouring
inputs are, which come from a table where many rows share it. Which of the two is decided forward row by row, by the
number of its spikes alone: a sample at a step has the same bits whatever else is computed with it, so that a stream has
the spikes of the whole pass. The gradient of the weights decides once for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.dense import subsets
from cuslayer.kernels.host.blas import matmul
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.simd import INPUTS
from cuslayer.kernels.spikes.cpu import SpikeList, by_column

# More spikes than any row has: all rows are walked.
_ENDLESS = 1 << 62


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
def gather_by_six(total: Any, first: int, last: int, index: Any, table: Any, at: int) -> None:
    """Write to total the same sum in the order of `subsets.py`: those of each six neighbours first."""
    total[:] = 0
    size = total.size
    some = np.empty(size, total.dtype)
    e = first
    while e < last:
        end = (index[e] // INPUTS + 1) * INPUTS
        a = table[index[e], at : at + size]
        e += 1
        if e == last or index[e] >= end:
            for j in range(size):
                total[j] += a[j]
            continue
        b = table[index[e], at : at + size]
        for j in range(size):
            some[j] = a[j] + b[j]
        e += 1
        while e < last and index[e] < end:
            a = table[index[e], at : at + size]
            for j in range(size):
                some[j] += a[j]
            e += 1
        for j in range(size):
            total[j] += some[j]


@compiled
def add_rows(total: Any, first: int, last: int, index: Any, table: Any, at: int, limit: int) -> None:
    """Write to total the sum of the rows index[first:last], in either order; see `busy_above` of `subsets.py`."""
    if last - first > limit:
        gather_by_six(total, first, last, index, table, at)
    else:
        gather(total, first, last, index, table, at)


@compiled
def _add_rows(first: int, last: int, start: Any, index: Any, table: Any, out: Any, limit: int, busy_too: bool) -> None:
    for row in range(first, last):
        if busy_too or start[row + 1] - start[row] <= limit:
            add_rows(out[row], start[row], start[row + 1], index, table, 0, limit)


def forward(x: SpikeList | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, SpikeList):
        return matmul(x.astype(w.dtype, copy=False), w)
    busy, limit = busy_rows(x, w), subsets.busy_above(w)
    tables = subsets.pay(int((x.start[busy + 1] - x.start[busy]).sum()), busy.size, w, subsets.LISTED)
    if tables and busy.size == x.shape[0]:
        return subsets.forward(x.bits, w)
    out = empty((x.shape[0], w.shape[1]), w.dtype)
    parallel_for(_add_rows, len(out), x.start, x.index, w, out, limit, not tables, grain=32)
    if tables:
        subsets.forward_rows(x.start, x.index, busy, w, out)
    return out


def walk(x: SpikeList, w: Array) -> Array:
    """Return x w by adding the row of w of each spike, four at a time, in the order of the kernels of a GPU."""
    out = empty((x.shape[0], w.shape[1]), w.dtype)
    parallel_for(_add_rows, len(out), x.start, x.index, w, out, _ENDLESS, True, grain=32)
    return out


def busy_rows(x: SpikeList, w: Array) -> Array:
    """Return the rows of x whose spikes `forward` adds in the order of `subsets.py`."""
    return np.flatnonzero(np.diff(x.start) > subsets.busy_above(w))


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
    parallel_for(_add_rows, len(w), begin, rows, g, w, _ENDLESS, True, grain=16)
    return w


def deferred_input_adjoint(g: Array, w: Array, shape: tuple[int, ...]) -> Array:
    """Return g w' in a shape; a GPU computes it where it is used."""
    return input_adjoint(g, w).reshape(shape)


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
