"""The number for which a spike stands, one for each channel: by least squares, or a percentile."""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array

# The candidates of a unit, as shares of the channel's largest number.
_SHARES = np.geomspace(0.02, 1.25, 64)
# The numbers of a channel by which candidates are compared.
_SAMPLES = 4096


def least_squares(current: Array, target: Array, steps: int, rng: np.random.Generator) -> Array:
    """Return the units (C,) whose rounded rates are nearest to the numbers of a rectifier.

    For each channel, the unit minimizes the sum of ``(target - unit / T clip(floor(T current / unit + 1/2), 0, T))^2``.

    Args:
        current: (M, C), the mean input of each neuron, from spikes.
        target: (M, C), the output of the rectifier.
        steps: the number of steps T.
        rng: draws the rows that are compared, at most 4,096.
    """
    # The largest numbers of all rows set the scale of the candidates.
    most = _positive(target.max(axis=0, initial=0.0).astype(np.float64))
    if len(target) > _SAMPLES:
        rows = rng.choice(len(target), _SAMPLES, replace=False)
        current = current[rows]
        target = target[rows]
    best = most.copy()
    least = np.full(most.shape, np.inf)
    for share in _SHARES:
        unit = share * most
        counts = np.clip(np.floor(steps * current / unit + 0.5), 0, steps)
        error = np.square(target - unit * counts / steps).sum(axis=0)
        better = error < least
        best[better] = unit[better]
        least[better] = error[better]
    return best


def percentile(target: Array, share: float) -> Array:
    """Return the units (C,) that a share of the positive numbers (M, C) of a rectifier does not exceed."""
    positive = np.where(target > 0, target.astype(np.float64), np.nan)
    empty = np.isnan(positive).all(axis=0)
    positive[:, empty] = 0.0
    return _positive(np.nanpercentile(positive, 100.0 * share, axis=0))


def _positive(units: Array) -> Array:
    """Return units with the largest one in place of 0, for channels that were silent."""
    largest = float(units.max(initial=0.0)) or 1.0
    return np.where(units > 0, units, largest)
