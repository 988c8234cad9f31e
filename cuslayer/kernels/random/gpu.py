"""Launcher of `dropout.cu`."""

from __future__ import annotations

from cuslayer.backend import Array, numeric_type, random_state
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import arrived, contiguous, empty, sizes

__all__ = ["dropout"]

# Columns of a warp: each lane draws four words, for columns 32 apart.
_LANES = 32
_COLUMNS = 128
# Threads that occupy a GPU, and the fewest steps of one.
_THREADS = 1 << 17
_LEAST_STEPS = 8


def dropout(x: Array, p: float) -> tuple[Array, Array]:
    """Return x (T, ...) times a factor for each neuron, 0 with probability p, else 1 / (1 - p), and the factors.

    The library's generator keys the one that draws them; see `random_state`.
    """
    steps, columns = sizes(x)
    dtype = numeric_type(x.dtype)
    fired = x.dtype == bool
    scale = empty(x, x.shape[1:], dtype)
    y = empty(x, x.shape, dtype)
    groups = -(-columns // _COLUMNS) * _LANES
    chunk = max(-(-steps * groups // _THREADS), _LEAST_STEPS)
    kernel("dropout", dtype)(
        groups * max(-(-steps // chunk), 1),
        state=random_state(x),
        arrived=arrived(x),
        **{"spikes" if fired else "numbers": contiguous(x)},
        scale=scale,
        y=y,
        silent=int(p * 2.0**32),
        factor=1 / (1 - p),
        chunk=chunk,
        fired=fired,
    )
    return y, scale
