"""Loops that prepare data once, before training. They import Numba, so they are imported at the first use.

They have no CUDA twins. For a few signals a loop in NumPy takes ten times as long, because of several calls a step.
"""

from __future__ import annotations

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array

# The minimum number of signals for each thread.
_GRAIN = 128


@compiled
def _crossings(first: int, last: int, x: Array, threshold: float, spikes: Array) -> None:
    level = x[0, first:last].copy()
    for t in range(1, x.shape[0]):
        for m in range(first, last):
            change = x[t, m] - level[m - first]
            if abs(change) >= threshold:
                level[m - first] = x[t, m]
                spikes[t, m, 1 if change > 0 else 0] = 1


def crossings(x: Array, threshold: float, spikes: Array) -> None:
    """Set spikes (T, signals, 2), all False, to True where x (T, signals) has changed by the threshold, down or up."""
    if len(x):
        parallel_for(_crossings, x.shape[1], x, x.dtype.type(threshold), spikes.view(np.uint8), grain=_GRAIN)


@compiled
def unfolded_bytes(raw: Array) -> int:
    """Return the bytes of a chunk of HDF5 that lzf has compressed; -1 if its last part is cut off."""
    at = 0
    count = 0
    while at < raw.size:
        first = int(raw[at])
        if first < 32:
            at += first + 2
            count += first + 1
        else:
            long = first >= 224
            count += (first >> 5) + 2 + (int(raw[at + 1]) if long and at + 1 < raw.size else 0)
            at += 3 if long else 2
    return count if at == raw.size else -1
