"""The dense layer on the CPU: spike by spike for a list of spikes, a matrix product for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, spread
from cuslayer.kernels.cpu.events import SpikeList, by_column
from cuslayer.kernels.cpu.memory import empty
from cuslayer.kernels.cpu.product import matmul


@compiled
def _gather(first: int, last: int, start: Any, index: Any, table: Any, out: Any) -> None:
    """Write into each row of out the sum of the rows of the table that its list names."""
    for row in range(first, last):
        total = out[row]
        total[:] = 0
        e = start[row]
        end = start[row + 1]
        # Four at a time: the sum is loaded and stored once for four rows of the table.
        while e + 4 <= end:
            a, b, c, d = table[index[e]], table[index[e + 1]], table[index[e + 2]], table[index[e + 3]]
            for j in range(total.size):
                total[j] += (a[j] + b[j]) + (c[j] + d[j])
            e += 4
        while e < end:
            a = table[index[e]]
            for j in range(total.size):
                total[j] += a[j]
            e += 1


def dense(x: SpikeList | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): of spikes, the sum of the weight rows that they name."""
    if not isinstance(x, SpikeList):
        return matmul(x.astype(w.dtype, copy=False), w)
    out = empty((x.shape[0], w.shape[1]), w.dtype)
    spread(_gather, len(out), x.start, x.index, w, out, grain=32)
    return out


def dense_weight_adjoint(x: SpikeList | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): of spikes, the sum of the error rows at their times."""
    if not isinstance(x, SpikeList):
        return matmul(x.T.astype(g.dtype, copy=False), g).copy()
    inputs = x.shape[1]
    begin, rows = by_column(x.start, x.index, inputs)
    w = np.empty((inputs, g.shape[1]), g.dtype)
    spread(_gather, inputs, begin, rows, g, w, grain=16)
    return w


def dense_input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
