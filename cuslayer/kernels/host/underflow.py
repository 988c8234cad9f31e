"""States and gradients that are too small to matter become 0, so that subnormal numbers do not arise.

After the last input a state decays towards 0 and would become subnormal, where arithmetic takes several times as long,
and where CUDA differs: CuPy compiles with ``-ftz=true``, which replaces subnormal floats by 0. `Recurrence::flush` in
common.cuh has the same rule, so that the bits are equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from cuslayer.jit import compiled
from cuslayer.kernels.constants import least_state

# AHEAD of common.cuh: a check at every step would take a tenth of a pass.
_AHEAD = 8
_FLOAT32 = np.float32(least_state(np.float32))
_FLOAT64 = np.float64(least_state(np.float64))


def flushed(x: float) -> float:
    """Return x, or 0 if its absolute value is under `least_state`."""
    return 0.0 if abs(x) < least_state(np.float64) else x


@overload(flushed, inline="always")
def _flushed(x: Any) -> Any:
    least = _FLOAT32 if x is types.float32 else _FLOAT64
    zero = type(least)(0)

    def compare(x: Any) -> Any:
        return zero if abs(x) < least else x

    return compare


@compiled
def flush(t: int, states: Any, decay: Any) -> None:
    """Replace small states of a recurrence by 0 before the step t.

    That is before each step that is a multiple of 8, in backward passes too, and before every step if the states can
    lose more than a factor of 1e8 within 8 steps.
    """
    if t % _AHEAD == 0 or decay < states.dtype.type(0.1):
        for j in range(states.size):
            states[j] = flushed(states[j])
