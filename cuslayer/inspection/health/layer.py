"""The health of one layer, accumulated over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.network.graph import Address
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import Neuron
from cuslayer.tape import Tensor, no_grad

# The edges of the histogram of u - theta, in widths of the surrogate.
EDGES = np.linspace(-6.0, 6.0, 49)
# Number of potentials used per layer and batch, evenly spread.
_MOST = 2**20
# A neuron "always fires" if it does in this share of the steps in which it can.
_ALWAYS = 0.9
# The accepted mean rates of hidden neurons, Hz, and of neurons that can fire rarely, as shares of their highest rate.
SLOWEST, FASTEST = 5.0, 200.0
_LEAST, _MOST_OFTEN = 0.05, 0.6
# The accepted factor between the rate of the output and the one that the loss desires, and the least rate desired, Hz.
TIMES, LEAST_DESIRED = 5.0, 5.0
# A layer is saturated if a larger share of its neurons is locked (with weights of both signs, about half of a layer
# has a negative input and cannot be), or if the median distance of its potentials from theta is larger, or the median
# of the largest potentials from input alone. Both are in thresholds.
_LOCKED, _BEYOND, _HIGHEST = 1 / 3, 5.0, 20.0


@dataclass(frozen=True)
class LayerHealth:
    """Activity and errors of a layer and its neurons.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks.
        name: the name of the layer.
        theta: the threshold.
        width: the width of the surrogate, ``tau_rho theta``.
        rates: the firing rate of each neuron in Hz, in the shape of the layer.
        never: the share of neurons that never fired.
        always: the share of neurons that fired in at least 90 % of the steps in which they can, one in `period`.
        locked: the share of neurons locked in refraction: their input alone would keep the potential above the
            threshold at least half of the time, so they fire as often as refraction allows.
        within: the share of all potentials within one width of the threshold.
        histogram: shares of all potentials by ``(u - theta) / width``, 48 bins from -6 to 6; values beyond count in the
            first or the last.
        distance: the median of ``|u - theta|``.
        peak: the median, over neurons and samples, of the largest potential from input alone; only positive ones
            count, 0 without any.
        error: the Euclidean norm of the error on the weighted input, over all neurons and steps.
        most: the highest rate that the neurons can have, Hz.
        output: whether no other neurons come after them.
        desired: the mean rate that the loss desires of them, Hz; None for hidden neurons, or if the loss has none.
        driven: whether any weighted input of theirs is not 0.
    """

    layer: Address
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
    most: float
    output: bool
    desired: float | None
    driven: bool

    @property
    def rate(self) -> float:
        """The mean firing rate of a neuron in Hz."""
        return float(self.rates.mean()) if self.rates.size else 0.0

    @property
    def silent(self) -> bool:
        """Whether no neuron fired."""
        return not self.rates.any()

    @property
    def accepted(self) -> tuple[float, float]:
        """The lowest and the highest accepted mean rate, Hz.

        For hidden neurons 5 and 200 Hz. For the output a fifth and five times the rate that the loss desires, which is
        counted as at least 5 Hz; without a desired rate, any rate above 0. The lowest rate is at most 5 % of the
        highest that the neurons can have. The highest is at most 60 % of it, unless the loss desires more.
        """
        low, high, aim = SLOWEST, FASTEST, 0.0
        if self.output and self.desired is None:
            low, high = 0.0, math.inf
        elif self.output:
            aim = max(self.desired or 0.0, LEAST_DESIRED)
            low, high = aim / TIMES, aim * TIMES
        return min(low, _LEAST * self.most), min(high, max(_MOST_OFTEN * self.most, aim))

    @property
    def fault(self) -> str:
        """What is out of range: "silent", "slow", "fast" or "saturated"; empty if nothing is."""
        low, high = self.accepted
        if not self.rates.size:
            return ""
        if self.silent or self.rate < low:
            return "silent" if self.silent else "slow"
        theta = abs(self.theta)
        # An output that is to fire often is over the threshold most of the time.
        locked = self.locked > _LOCKED and self.desired is None
        if locked or self.distance > _BEYOND * theta or self.peak > _HIGHEST * theta:
            return "saturated"
        return "fast" if self.rate > high else ""


class LayerTally:
    """Counts of a layer's spikes, potentials and errors over batches."""

    def __init__(self, layer: Address, name: str, neurons: Neuron, *, output: bool = False) -> None:
        self.layer, self.name, self.neurons, self.output = layer, name, neurons, output
        self.desired: float | None = None
        self.width = float(neurons.width)
        self.steps, self.square, self.driven = 0, 0.0, False
        self.counts: Any = 0
        self.over: Any = 0
        self.peaks: list[Array] = []
        self.distances: list[Array] = []

    def observe_input(self, x: Tensor) -> Tensor:
        """Return the weighted input with a hook that sums the squares of its error."""
        return on_gradient(x, callback=self._error)

    def count(self, x: Tensor, spikes: Tensor, u: Array | None) -> None:
        """Add a batch: the spikes, the potentials u if known, and the potentials from the input x alone."""
        if u is not None:
            self.distances.append((_sampled(u) - self.neurons.theta) / self.width)
        self.driven = self.driven or bool(x.data.any())
        s, peak = to_numpy(spikes.data), self.neurons.peak
        with no_grad():
            alone = to_numpy(self.neurons.psp(x.detach()).data)
        self.peaks.append(alone.max(axis=0, initial=0.0).ravel() * peak)
        self.over = self.over + (alone >= self.neurons.theta / peak).sum(axis=(0, 1))
        self.counts = self.counts + s.sum(axis=(0, 1))
        self.steps += s.shape[0] * s.shape[1]

    def _error(self, g: Array) -> None:
        flat = to_numpy(g).astype(np.float64).ravel()
        self.square += float(flat @ flat)

    def health(self) -> LayerHealth:
        """Return the health of the layer over all batches."""
        neurons, steps = self.neurons, max(self.steps, 1)
        most = steps / neurons.period
        distances = np.concatenate([*self.distances, np.zeros(0)])
        peaks = np.concatenate([*self.peaks, np.zeros(0)])
        histogram, _ = np.histogram(distances.clip(EDGES[0], EDGES[-1]), EDGES)
        return LayerHealth(
            layer=self.layer,
            name=self.name,
            theta=float(neurons.theta),
            width=self.width,
            rates=self.counts * (1000.0 / (steps * neurons.dt)),
            never=_share(self.counts == 0),
            always=_share(self.counts >= _ALWAYS * most),
            locked=_share(self.over >= 0.5 * steps),
            within=_share(abs(distances) <= 1.0),
            histogram=histogram / max(distances.size, 1),
            distance=_median(abs(distances)) * self.width,
            peak=_median(peaks[peaks > 0]),
            error=math.sqrt(self.square),
            most=neurons.highest_rate,
            output=self.output,
            desired=self.desired,
            driven=self.driven,
        )


def _sampled(u: Array) -> Array:
    """Return a copy of every n-th potential, with n coprime to the row length so that all neurons are sampled."""
    stride, row = max(1, math.ceil(u.size / _MOST)), max(math.prod(u.shape[1:]), 1)
    while math.gcd(stride, row) > 1:
        stride += 1
    return to_numpy(u.reshape(-1)[::stride]).astype(np.float64)


def _share(where: Array) -> float:
    return float(where.mean()) if where.size else 0.0


def _median(values: Array) -> float:
    return float(np.median(values)) if values.size else 0.0
