"""Changes to spikes: send on delta."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device
from cuslayer.encoding.arguments import signal


def encode_delta(x: Any, /, *, threshold: float) -> Array:
    """Return a spike wherever a signal has moved by the threshold since its last spike.

    The first step sets the level from which a signal moves, and so does every step with a spike. One step has one spike
    at most, however far the signal has moved.

    Args:
        x: a signal (T, N, ...).
        threshold: the least change that is sent.

    Returns:
        Spikes, boolean (T, N, ..., 2), on the device in use: down (OFF) is channel 0, up (ON) channel 1, as polarities
        are of `Events`. A grey film (T, N, H, W) so becomes what an event camera sees, (T, N, H, W, 2).

    Raises:
        ValueError: x is not (T, N, ...), a value is not finite, or the threshold is not positive.
        TypeError: x is not made of real numbers, or the threshold is no number.

    Source: Miskowicz 2006, "Send-on-delta concept: an event-based data reporting strategy".

    >>> spikes = encode_delta(np.array([0.0, 0.6, 1.1, 1.9, 0.9, 0.9])[:, None], threshold=1.0)
    >>> np.argwhere(spikes).tolist()  # up by 1.1 at step 2; from there 0.8 up and 0.2 down are too little
    [[2, 0, 1]]
    """
    from cuslayer.encoding.crossing import crossings

    op = "encode_delta"
    values = signal(op, x)
    check.time_first(op, "x", values)
    threshold = check.positive(op, "threshold", threshold)
    spikes = np.zeros((len(values), math.prod(values.shape[1:]), 2), bool)
    crossings(values.reshape(spikes.shape[:2]), threshold, spikes)
    return to_device(spikes.reshape(*values.shape, 2))
