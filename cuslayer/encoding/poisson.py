"""Rates to spikes: a Poisson process for each neuron."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, generator, to_device
from cuslayer.encoding.arguments import batch_first, count, not_negative, signal

# Random numbers that are drawn at once. The spikes do not depend on it.
_DRAWN = 1 << 20


def encode_poisson(
    x: Any, /, *, steps: int | None = None, rate: float = 100.0, dt: float = 1.0, seed: int | None = None
) -> Array:
    """Return spikes of Poisson processes whose rates are the values of x, in units of `rate`.

    A step holds a spike where the process had one event or more: ``P(s[t]) = 1 - exp(-rate x dt / 1000)``. At high
    rates that is less than ``rate x dt / 1000``, as several events of a step are one spike.

    Args:
        x: values from 0: an image (N, ...) that stays, or, where steps is None, a signal (T, N, ...).
        steps: how many steps T an image is shown.
        rate: spikes per second of a value of 1.
        dt: the step, ms.
        seed: where the random numbers start; by default they are drawn from the generator of `cs.seed`.

    Returns:
        Spikes, boolean (T, N, ...), on the device in use.

    Raises:
        ValueError: a value of x is negative or not finite, x is not (N, ...) or (T, N, ...), or a number is out of
            its range.
        TypeError: x is not made of real numbers, or an argument is of another type.

    >>> image = np.array([[0.0, 0.5, 1.0]])
    >>> spikes = encode_poisson(image, steps=1000, rate=100, seed=0)
    >>> spikes.shape, spikes.sum(axis=0).tolist()
    ((1000, 1, 3), [[0, 49, 107]])
    """
    op = "encode_poisson"
    values = signal(op, x)
    not_negative(op, values)
    per_step = check.positive(op, "rate", rate) * check.positive(op, "dt", dt) / 1000
    if steps is None:
        check.time_first(op, "x", values)
        shape = values.shape
    else:
        batch_first(op, values)
        shape = (count(op, steps), *values.shape)
    random = generator() if seed is None else np.random.default_rng(check.integer(op, "seed", seed, least=0))
    chance = -np.expm1(-values.reshape(shape[0] if steps is None else 1, math.prod(shape[1:])) * per_step)
    spikes = np.empty((shape[0], math.prod(shape[1:])), bool)
    rows = max(1, _DRAWN // max(1, spikes.shape[1]))
    for first in range(0, len(spikes), rows):
        part = spikes[first : first + rows]
        of_part = chance if steps is not None else chance[first : first + rows]
        np.less(random.random(part.shape, np.float32), of_part, out=part)
    return to_device(spikes.reshape(shape))
