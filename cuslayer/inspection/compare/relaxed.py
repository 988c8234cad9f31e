"""The relaxed network: thresholds that have a slope, and pass through what the network did."""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array
from cuslayer.neurons.base import Neuron


class Relaxed:
    """Neurons whose threshold is relaxed around a run of theirs, with potentials u0 and spikes s0.

    A spike becomes a number that grows with the potential at the slope that the surrogate says, and is the spike where
    the potential is what it was::

        s[t] = s0[t] + integral from u0[t] to u[t] of dt rho(v) dv
        u[t] = psp(x)[t] + sum_{k>=1} nu[k] s[t-k]

    The integral of rho, Laplace's density, is Laplace's distribution times ``2 scale_rho``. Each s0 is the constant of
    integration that fits it to the run. Loihi's neurons have the response of `Loihi.response` in psp's place, and no
    refraction: their reset is dropped, as in their gradient.

    Args:
        neurons: the neurons, whose surrogate is Laplace's density.
        u0: (T, N, ...), their potentials in the run.
    """

    def __init__(self, neurons: Neuron, u0: Array) -> None:
        if neurons.laplace is None:
            raise TypeError(f"Relaxed: neurons must have Laplace's density as surrogate, got {type(neurons).__name__}")
        self.neurons, self.nu, self.peak = neurons, neurons.refractory, neurons.peak
        self.width, self.height = neurons.laplace
        self.z0 = (u0.astype(np.float64) - neurons.theta) / self.width

    def slope(self) -> Array:
        """Return the derivative of each spike for its potential in the run, ``dt rho(u0)``."""
        return self.height * np.exp(-abs(self.z0))

    def changes(self, filtered: Array) -> Array:
        """Return how spikes change where the filtered input does.

        Args:
            filtered: (T, ..., N, ...), changes of psp(x) in several trials; a trial has the shape of u0's steps.

        Returns:
            ``s - s0``, of that shape, float64.
        """
        later = filtered / self.width
        if len(self.nu) < 2:
            return self._grown(self.z0[:, None], later)
        found = np.empty(later.shape)
        debt = (self.nu[1:] / self.width).reshape(-1, *(1 for _ in later.shape[1:]))
        for t in range(len(later)):
            found[t] = self._grown(self.z0[t], later[t])
            reached = later[t + 1 : t + len(self.nu)]
            reached += debt[: len(reached)] * found[t]
        return found

    def _grown(self, z0: Array, change: Array) -> Array:
        """Return the integral of ``height exp(-|z|)`` over the potential, from z0 on, in widths."""
        below, above = np.minimum(z0, z0 + change), np.maximum(z0, z0 + change)
        # On one side of the threshold it is a difference of exponentials; across, the sum of both sides.
        near = np.exp(-np.minimum(abs(below), abs(above)))
        one_side = near * -np.expm1(-abs(change))
        across = 2.0 - np.exp(np.minimum(below, 0.0)) - np.exp(-np.maximum(above, 0.0))
        size = np.where((below < 0) & (above > 0), across, one_side)
        return self.height * self.width * np.copysign(size, change)
