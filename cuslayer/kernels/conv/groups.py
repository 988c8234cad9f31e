"""Groups of channels: where the outputs of each lie, and several of few channels that are computed as one.

A matrix product of few columns is slow, and so are loops over few channels: a convolution of 16 groups of one channel
would take many times as long as one of 16 channels. As one group they have a weight that is 0 between them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.host.vectors import REGISTER_BYTES

# Channels of a group, or outputs, that fill the vectors of a core.
FULL = 16


def merged(inputs: int, outputs: int, groups: int) -> int:
    """Return how many groups of so many channels and outputs are computed as one: a divisor of their number."""
    enough = (n for n in range(1, groups) if groups % n == 0 and n * min(inputs, outputs) >= FULL)
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


class Pieces(NamedTuple):
    """The vectors of a pixel that hold the outputs of each group: the same number for all groups.

    Attributes:
        outputs: outputs of all groups.
        width: numbers of a piece.
        first: the first number of the piece of each group.
    """

    outputs: int
    width: int
    first: tuple[int, ...]

    @classmethod
    def of(cls, outputs: int, groups: int, dtype: Any) -> Pieces:
        """Return the pieces of so many outputs of a type."""
        share, lanes = outputs // groups, REGISTER_BYTES // np.dtype(dtype).itemsize
        begins = [group * share // lanes * lanes for group in range(groups)]
        width = max(-(-((group + 1) * share - begin) // lanes) * lanes for group, begin in enumerate(begins))
        if groups == 1 or width >= outputs:
            return cls(outputs, outputs, (0,) * groups)
        return cls(outputs, width, tuple(min(begin, outputs - width) for begin in begins))

    def join(self, count: int, apart: int, taps_apart: int) -> tuple[int, int]:
        """Return the pieces of so many columns, and the numbers of each: one piece where all are neighbours."""
        if self.width == self.outputs and apart == taps_apart == 1:
            return min(1, count), count * self.width
        return count, self.width
