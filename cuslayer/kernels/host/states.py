"""States and constants of loops over time: where they come from, and how small ones become 0.

The values of a state or constant for neighbouring columns are adjacent. One kind follows the other in one array, as far
apart as the block of columns is wide. That is also the number of passes of the inner loop, which tells the compiler
that no two of them overlap. In a function of a row, without the array's length, loops at another distance were not
SIMD.

After the last input a state decays towards 0 and would become subnormal, where arithmetic takes several times as long,
and where CUDA differs: CuPy compiles with ``-ftz=true``, which replaces subnormal floats by 0. So states and gradients
become 0 before that, by `flushed` and by the states that fade in `step/print_numba.py`. CUDA has the same rules, for
equal bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from cuslayer._base.jit import uncounted
from cuslayer.backend import Array
from cuslayer.kernels.constants import least_state
from cuslayer.kernels.host.rows import copy

_FLOAT32 = np.float32(least_state(np.float32))
_FLOAT64 = np.float64(least_state(np.float64))


@uncounted
def load_states(block: Array, states: Array, low: int, width: int) -> None:
    """Copy the states (count, columns) of the columns from `low` on to the front of a block."""
    for i in range(len(states)):
        copy(block[i * width : (i + 1) * width], states[i, low : low + width])


@uncounted
def store_states(states: Array, block: Array, low: int, width: int) -> None:
    """Copy the front of a block back to the states (count, columns) of the columns from `low` on."""
    for i in range(len(states)):
        copy(states[i, low : low + width], block[i * width : (i + 1) * width])


@uncounted
def repeat(out: Array, constants: Array, low: int) -> None:
    """Write the constants of the columns from `low` on: column m has ``constants[m % constants.size]``."""
    at = low % constants.size
    for j in range(out.size):
        out[j] = constants[at]
        at = at + 1 if at + 1 < constants.size else 0


def flushed(x: float) -> float:
    """Return x, or 0 if its absolute value is below `least_state`."""
    return 0.0 if abs(x) < least_state(np.float64) else x


@overload(flushed, inline="always")
def _flushed(x: Any) -> Any:
    least = _FLOAT32 if x is types.float32 else _FLOAT64
    zero = type(least)(0)

    def compare(x: Any) -> Any:
        return zero if abs(x) < least else x

    return compare
