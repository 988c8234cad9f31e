"""Values to times: the larger, the earlier, one spike a neuron."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device
from cuslayer.encoding.arguments import batch_first, count, not_negative, signal


def encode_latency(
    x: Any,
    /,
    *,
    steps: int,
    dt: float = 1.0,
    largest: float = 1.0,
    tau: float | None = None,
    threshold: float = 0.01,
) -> Array:
    """Return spikes whose times are the values of x: one for each neuron, earlier the larger, for a value of 0 none.

    By default times fall linearly, the `largest` value fires in the first step, and the smallest above 0 in the last::

        t = round((1 - x / largest) (steps - 1))

    With tau they are the times at which a leaky membrane that x drives reaches the threshold::

        t = floor(tau / dt ln(x / (x - threshold)))

    where values up to the threshold never fire, nor does what would fire after the last step.

    Args:
        x: values from 0 to `largest`, an image (N, ...).
        steps: how many steps T.
        dt: the step, ms; it matters with tau only.
        largest: the largest value that x may have.
        tau: time constant of the membrane, ms; None for linear times.
        threshold: its threshold, in the unit of x; it matters with tau only.

    Returns:
        Spikes, boolean (T, N, ...), on the device in use.

    Raises:
        ValueError: a value of x is negative, over `largest` or not finite, x is not (N, ...), or a number is out of
            its range.
        TypeError: x is not made of real numbers, or an argument is of another type.

    Source: Thorpe 1990, "Spike arrival times"; for tau, equation 7 with a constant input of Gerstner et al. 2014,
    "Neuronal Dynamics", section 1.3.

    >>> spikes = encode_latency(np.array([[0.0, 0.1, 0.5, 1.0]]), steps=11)
    >>> [np.flatnonzero(s).tolist() for s in spikes[:, 0].T]
    [[], [9], [5], [0]]
    """
    op = "encode_latency"
    values = signal(op, x)
    batch_first(op, values)
    not_negative(op, values)
    steps, dt = count(op, steps), check.positive(op, "dt", dt)
    largest = check.positive(op, "largest", largest)
    threshold = check.positive(op, "threshold", threshold)
    if values.size and values.max() > largest:
        raise ValueError(f"{op}: x must be at most {largest:g}, got {values.max():g}")
    exact = values.astype(np.float64)
    if tau is None:
        fires = exact > 0
        time = np.rint((1 - exact / largest) * (steps - 1))
    else:
        tau = check.positive(op, "tau", tau)
        fires = exact > threshold
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.floor(tau / dt * np.log(exact / (exact - threshold)))
        fires &= time < steps
    spikes = np.zeros((steps, math.prod(values.shape)), bool)
    column = np.flatnonzero(fires)
    spikes[time.ravel()[column].astype(np.int64), column] = True
    return to_device(spikes.reshape(steps, *values.shape))
