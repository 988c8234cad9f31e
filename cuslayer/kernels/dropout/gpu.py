"""Launcher of `dropout.cu`: random factors of dropout."""

from __future__ import annotations

from cuslayer.backend import Array, random_state
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import arrived, empty, sizes

__all__ = ["scale"]

# Columns of a warp: each lane draws four words, for columns 32 apart.
_LANES, _COLUMNS = 32, 128


def scale(x: Array, p: float) -> Array:
    """Return a factor for each neuron of x (T, ...): 0 with probability p, else 1 / (1 - p).

    The neurons are those of a generator that is keyed by the library's; see `random_state`.
    """
    columns = sizes(x)[1]
    factors = empty(x, x.shape[1:], x.dtype)
    kernel("dropout_scale", x.dtype)(
        -(-columns // _COLUMNS) * _LANES,
        state=random_state(x),
        arrived=arrived(x),
        scale=factors,
        silent=int(p * 2.0**32),
        factor=1 / (1 - p),
        columns=columns,
    )
    return factors
