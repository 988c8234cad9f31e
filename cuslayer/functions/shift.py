"""Delays: the axon's time shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.tape import Pullback, differentiable


def whole_steps(delay: Any, dt: float) -> Array:
    """Return ``floor(delay / dt)`` as int64, where a delay meant as a multiple of dt counts as one.

    >>> whole_steps(13 * 0.1, 0.1).item(), whole_steps(1.29, 0.1).item(), whole_steps(-0.05, 0.1).item()
    (13, 12, -1)
    """
    ratio = np.asarray(delay, np.float64) / dt
    nearest = np.rint(ratio)
    meant = np.abs(ratio - nearest) <= 1e-9 * np.maximum(1.0, np.abs(ratio))
    return np.where(meant, nearest, np.floor(ratio)).astype(np.int64)


@differentiable
def shift(x: Array, /, *, delay: Any, dt: float = 1.0) -> tuple[Array, Pullback]:
    """Delay x in time: ``y[t] = x[t - n]``, ``n = floor(delay / dt)``, with zeros where nothing came yet.

    Backward is the shift by ``-n``. Delayed spikes are spikes.

    Args:
        x: (T, N, ...), spikes or numbers.
        delay: milliseconds, one number or one for each neuron (of the shape of x after N); a negative delay advances.
        dt: the step in milliseconds.

    Returns:
        The delayed signal, of x's shape and type.

    Raises:
        ValueError: x is not (T, N, ...), delay is neither one number nor one a neuron, or dt is not positive.
        TypeError: delay or dt is not made of real numbers.

    >>> import numpy as np
    >>> shift(np.array([[[1.0, 1.0]], [[2.0, 2.0]], [[3.0, 3.0]]]), delay=[1.0, -1.0]).data[:, 0].tolist()
    [[0.0, 2.0], [1.0, 3.0], [2.0, 0.0]]
    """
    check.time_first("shift", "x", x)
    dt = check.positive("shift", "dt", dt)
    given = np.asarray(to_numpy(delay))
    if given.dtype.kind not in "iuf":
        raise TypeError(f"shift: delay must be numbers, got {given.dtype}")
    if not np.isfinite(given).all():
        raise ValueError("shift: delay must be finite")
    if given.ndim and given.shape != x.shape[2:]:
        raise ValueError(f"shift: delay has shape {given.shape}, a neuron of x each has shape {x.shape[2:]}")
    columns = np.broadcast_to(whole_steps(given, dt), x.shape[1:]).ravel()
    k = kernels.of(x)
    move = k.shift_spikes if x.dtype == bool else k.shift
    forward, back = to_device(columns), to_device(-columns)
    return move(x, forward), lambda g: k.shift(g, back)
