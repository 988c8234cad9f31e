"""The health of one layer: what is counted of it, batch by batch, and what that comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import Neuron
from cuslayer.tape import Tensor, no_grad

# The edges of the histogram of u - theta, in widths of the surrogate.
EDGES = np.linspace(-6.0, 6.0, 49)
# Of the potentials of a layer and a batch, so many are looked at, evenly spread.
_MOST = 2**20
# A neuron always fires that does so in this share of the steps in which it can.
_ALWAYS = 0.9


@dataclass(frozen=True)
class LayerHealth:
    """How a layer and its neurons do.

    Attributes:
        layer: the position of the neurons.
        name: the layer, as text.
        theta: the neurons' threshold.
        width: the width of their surrogate, ``tau_rho theta``.
        rates: the rate of each neuron in Hz, of the layer's shape.
        never: the share of neurons that never fired.
        always: the share of neurons that fired in nine of ten steps or more (of the steps in which
            they can, where they have a period).
        locked: the share of neurons locked in refraction: their input alone would hold them over the threshold for at
            least half of the time, so that they fire as often as refraction lets them.
        within: the share of all neurons and steps whose potential is within a width of the threshold.
        histogram: shares of all neurons and steps by ``(u - theta) / width``, 48 bins from -6 to 6; what lies beyond
            counts in the first or the last.
        distance: the median of ``|u - theta|``.
        peak: the highest potential that the input alone would make, in the median of the neurons and samples in which
            there is any; 0 where there is none.
        error: the length of the error that reached the layer's weighted input, over all neurons and steps.
    """

    layer: int
    name: str
    theta: float
    width: float
    rates: Array
    never: float
    always: float
    locked: float
    within: float
    histogram: Array
    distance: float
    peak: float
    error: float

    @property
    def rate(self) -> float:
        """The mean rate of a neuron in Hz."""
        return float(self.rates.mean()) if self.rates.size else 0.0

    @property
    def silent(self) -> bool:
        """Whether no neuron fired at all."""
        return not self.rates.any()


class LayerTally:
    """What is counted of a layer and its neurons.

    Args:
        layer: the position of the neurons.
        name: the layer, as text.
        neurons: the neurons.
    """

    def __init__(self, layer: int, name: str, neurons: Neuron) -> None:
        self.layer, self.name, self.neurons = layer, name, neurons
        self.width = float(neurons.width)
        self.steps, self.square = 0, 0.0
        self.counts: Array = np.zeros(0)
        self.over: Array = np.zeros(0)
        self.peaks: list[Array] = []
        self.away: list[Array] = []

    def observe_input(self, x: Tensor) -> Tensor:
        """Return the weighted input, with a hook that adds up its error."""
        return on_gradient(x, callback=self._error)

    def count(self, x: Tensor, spikes: Tensor, u: Array | None) -> None:
        """Count the spikes of a batch, its potentials u where they are known, and those that the input alone makes."""
        if u is not None:
            self.away.append((_sampled(u) - self.neurons.theta) / self.width)
        s, peak = to_numpy(spikes.data), self.neurons.peak
        with no_grad():
            alone = to_numpy(self.neurons.psp(x.detach()).data)
        self.peaks.append(alone.max(axis=0, initial=0.0).ravel() * peak)
        over = (alone >= self.neurons.theta / peak).sum(axis=(0, 1))
        counts = s.sum(axis=(0, 1))
        self.counts, self.over = (self.counts + counts, self.over + over) if self.steps else (counts, over)
        self.steps += s.shape[0] * s.shape[1]

    def _error(self, g: Array) -> None:
        flat = to_numpy(g).astype(np.float64).ravel()
        self.square += float(flat @ flat)

    def health(self) -> LayerHealth:
        """Return what it comes to."""
        neurons, steps = self.neurons, max(self.steps, 1)
        most = steps / neurons.period
        away = np.concatenate([*self.away, np.zeros(0)])
        peaks = np.concatenate([*self.peaks, np.zeros(0)])
        histogram, _ = np.histogram(away.clip(EDGES[0], EDGES[-1]), EDGES)
        return LayerHealth(
            layer=self.layer,
            name=self.name,
            theta=float(neurons.theta),
            width=self.width,
            rates=self.counts * (1000.0 / (steps * neurons.dt)),
            never=_share(self.counts == 0),
            always=_share(self.counts >= _ALWAYS * most),
            locked=_share(self.over >= 0.5 * steps),
            within=_share(abs(away) <= 1.0),
            histogram=histogram / max(away.size, 1),
            distance=_median(abs(away)) * self.width,
            peak=_median(peaks[peaks > 0]),
            error=math.sqrt(self.square),
        )


def _sampled(u: Array) -> Array:
    """Return a copy of some potentials, every so many, at a distance that does not meet the same neurons again."""
    apart, row = max(1, math.ceil(u.size / _MOST)), max(math.prod(u.shape[1:]), 1)
    while math.gcd(apart, row) > 1:
        apart += 1
    return to_numpy(u.reshape(-1)[::apart]).astype(np.float64)


def _share(where: Array) -> float:
    return float(where.mean()) if where.size else 0.0


def _median(values: Array) -> float:
    return float(np.median(values)) if values.size else 0.0
