"""Potentials as fused passes of a convolution keep them: blocks of some rows of one sample's map at all steps."""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array


def from_blocks(u: Array, shape: tuple[int, ...], samples: Array | None, neurons: Array | None) -> Array:
    """Return a part of potentials kept in blocks, at all steps: (T, samples, H, W, C), or (T, samples, k) of k neurons.

    Args:
        u: (blocks, T, numbers of a block), the blocks of a sample one after the other.
        shape: (T, N, H, W, C), the shape of all potentials.
        samples: numbers of samples, None for all.
        neurons: (k, 3), their rows, columns and channels, None for all.
    """
    steps, count, rows, columns, channels = shape
    chosen = np.arange(count) if samples is None else samples
    if 0 in shape:
        places = shape[2:] if neurons is None else (len(neurons),)
        return np.zeros((steps, len(chosen), *places), u.dtype)
    together = u.shape[2] // (columns * channels)
    by_sample = u.reshape(count, len(u) // count, steps, u.shape[2])
    if neurons is None:
        maps = by_sample.reshape(count, -1, steps, together, columns, channels)[chosen]
        whole = maps.transpose(2, 0, 1, 3, 4, 5).reshape(steps, len(chosen), -1, columns, channels)
        return np.array(whole[:, :, :rows], order="C")
    row, column, channel = neurons.T
    at = (row % together * columns + column) * channels + channel
    return np.ascontiguousarray(by_sample[chosen[:, None], row // together, :, at].transpose(2, 0, 1))
