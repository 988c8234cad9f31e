"""The constants of a neuron for the kernels: alpha functions, threshold and surrogate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.window import Window


class Recurrence(NamedTuple):
    """An alpha function as a recurrence of two states, in the number type of the arrays.

    With ``cut`` samples of the filter (0: never cut) and the input x::

        q[t] = decay (q[t-1] + p[t-1]) - cut_q x[t-cut]
        p[t] = decay p[t-1] + x[t]     - cut_p x[t-cut]
        a[t] = gain q[t]
    """

    decay: Any
    gain: Any
    cut: int
    cut_p: Any
    cut_q: Any


@dataclass(frozen=True)
class Alpha:
    """The filter ``h[k] = amplitude (k dt / tau) exp(1 - k dt / tau)``, times in milliseconds.

    It is cut at the first k with ``k dt > tau`` and ``|h[k]| < cutoff``; with a cutoff of 0 it is never cut.
    """

    amplitude: float
    tau: float
    dt: float
    cutoff: float

    def value(self, k: int) -> float:
        """Return h[k], uncut."""
        x = k * self.dt / self.tau
        return self.amplitude * x * math.exp(1 - x)

    @cached_property
    def taps(self) -> int:
        """The number of samples before the cut; 0 if the filter is never cut."""
        if self.cutoff == 0:
            return 0
        return self._first_under(self.cutoff)

    def _first_under(self, level: float) -> int:
        k = math.floor(self.tau / self.dt)
        while k * self.dt <= self.tau or abs(self.value(k)) >= level:
            k += 1
        return k

    def samples(self) -> Array:
        """Return the samples before the cut in float64; without a cut, those that matter in float64."""
        taps = self.taps or self._first_under(max(abs(self.amplitude), 1.0) * np.finfo(np.float64).eps)
        x = np.arange(taps) * (self.dt / self.tau)
        return self.amplitude * x * np.exp(1 - x)

    def recurrence(self, dtype: np.dtype[Any], steps: int) -> Recurrence:
        """Return the recurrence for arrays of a number type and `steps` steps; a later cut is left out."""
        real = dtype.type
        decay = math.exp(-self.dt / self.tau)
        cut = self.taps if self.taps < steps else 0
        tail = decay**cut if cut else 0.0
        gain = self.amplitude * math.e * self.dt / self.tau
        return Recurrence(real(decay), real(gain), cut, real(tail), real(cut * tail))


@dataclass(frozen=True, eq=False)
class Sampled:
    """Any filter, given by its samples (K,), the first at lag 0, and the step in milliseconds."""

    taps: Array
    dt: float

    def samples(self) -> Array:
        """Return the samples; see `Alpha.samples`."""
        return self.taps


@dataclass(frozen=True)
class Spiking:
    """Threshold, refractory response and surrogate gradient.

    Attributes:
        theta: the threshold.
        refractory: the response of the potential to the neuron's own spike.
        width: ``tau_rho theta``, the distance from the threshold at which the surrogate is 1/e of its height.
        height: ``dt scale_rho / (tau_rho theta)``, the surrogate at the threshold times the step in milliseconds.
    """

    theta: float
    refractory: Alpha
    width: float
    height: float

    def surrogate(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type."""
        real = dtype.type
        return real(self.theta), real(1 / self.width), real(self.height)


class Pooling(NamedTuple):
    """Sum pooling and the neurons after it.

    Attributes:
        window: the rows and columns that are summed.
        gain: the weight of every input.
        response: the spike response of the neurons.
        spiking: their threshold, refractory response and surrogate.
    """

    window: Window
    gain: float
    response: Alpha
    spiking: Spiking
