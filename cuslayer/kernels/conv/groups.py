"""Groups of few channels, several of which are computed as one.

A matrix product of few columns is slow, and so are loops over few channels: a convolution of 16 groups of one channel
would take many times as long as one of 16 channels. As one group they have a weight that is 0 between them.
"""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array

# Channels of a group, or outputs, that fill the vectors of a core.
_LEAST = 16


def merged(inputs: int, outputs: int, groups: int) -> int:
    """Return how many groups of so many channels and outputs are computed as one: a divisor of their number."""
    enough = (n for n in range(1, groups) if groups % n == 0 and n * min(inputs, outputs) >= _LEAST)
    return next(enough, groups)


def merge(w: Array, groups: int, count: int) -> Array:
    """Return the weight (kh, kw, count C / groups, outputs) of groups / count groups, 0 between those of before."""
    kernel, inputs, outputs = w.shape[:2], w.shape[2], w.shape[3] // groups
    parts = w.reshape(*kernel, inputs, groups // count, count, outputs)
    whole = np.zeros((*kernel, count, inputs, groups // count, count, outputs), w.dtype)
    for member in range(count):
        whole[:, :, member, :, :, member] = parts[:, :, :, :, member]
    return whole.reshape(*kernel, count * inputs, groups * outputs)


def split(w: Array, groups: int, count: int) -> Array:
    """Return the gradient of a weight from that of the weight of `merge`, the parts between groups left out."""
    kernel, inputs, outputs = w.shape[:2], w.shape[2] // count, w.shape[3] // groups
    whole = w.reshape(*kernel, count, inputs, groups // count, count, outputs)
    parts = [whole[:, :, member, :, :, member] for member in range(count)]
    return np.stack(parts, axis=4).reshape(*kernel, inputs, groups * outputs)
