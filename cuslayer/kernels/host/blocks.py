"""What loops over time share for a block of columns: the place of its states and constants, and where they come from.

All that a block has of each column lies in one array: a state or a constant of neighbouring columns side by side, one
kind after the other, as far apart as the block is wide. That is also the number of passes of the inner loop, which
tells the compiler that no two of them overlap; at any other distance it would have to check at run time. Two arrays of
which one is written are a check, too, and it gives up after eight: so a loop writes to two or three arrays at most.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled
from cuslayer.kernels.constants import least_state


def at_rest(count: int, x: Array) -> Array:
    """Return so many states of each column of x (T, ...) before the first step, (count, columns)."""
    return np.zeros((count, math.prod(x.shape[1:])), x.dtype)


def least_of(x: Array) -> Any:
    """Return the absolute value under which states and gradients become 0, in the number type of an array."""
    return x.dtype.type(least_state(x.dtype))


@compiled
def load_states(block: Any, states: Any, low: int, width: int) -> None:
    """Copy the states (count, columns) of the columns from `low` on to the front of a block."""
    for i in range(len(states)):
        block[i * width : (i + 1) * width] = states[i, low : low + width]


@compiled
def store_states(states: Any, block: Any, low: int, width: int) -> None:
    """Copy the front of a block back to the states (count, columns) of the columns from `low` on."""
    for i in range(len(states)):
        states[i, low : low + width] = block[i * width : (i + 1) * width]


@compiled
def repeat(out: Any, constants: Any, low: int) -> None:
    """Write the constants of the columns from `low` on: that of column m is ``constants[m % constants.size]``."""
    at = low % constants.size
    for j in range(out.size):
        out[j] = constants[at]
        at = at + 1 if at + 1 < constants.size else 0
