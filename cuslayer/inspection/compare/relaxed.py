"""Relaxed neurons: a smooth threshold that reproduces the spikes of a given run."""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array
from cuslayer.neurons.base import Neuron


class Relaxed:
    """Neurons with a smooth threshold around a run with potentials u0 and spikes s0.

    The output is a real number. It equals the spike at the potential of the run, and its slope is the surrogate::

        s[t] = s0[t] + integral from u0[t] to u[t] of dt rho(v) dv
        u[t] = psp(x)[t] + sum_{k>=1} nu[k] s[t-k]

    The integral of rho, the Laplace density, is the Laplace distribution times ``2 scale_rho``. Loihi's neurons have
    `Loihi.response` in place of psp, and no refraction: their reset is dropped, as in their gradient.

    Args:
        neurons: the neurons; their surrogate must be the Laplace density.
        u0: (T, N, ...), their potentials in the run.
    """

    def __init__(self, neurons: Neuron, u0: Array) -> None:
        if neurons.laplace is None:
            raise TypeError(f"Relaxed: neurons must have Laplace's density as surrogate, got {type(neurons).__name__}")
        self.neurons, self.nu, self.peak = neurons, neurons.refractory, neurons.peak
        self.width, self.height = neurons.laplace
        self.z0 = (u0.astype(np.float64) - neurons.theta) / self.width

    def slope(self) -> Array:
        """Return the derivative of each spike with respect to its potential in the run, ``dt rho(u0)``."""
        return self.height * np.exp(-abs(self.z0))

    def changes(self, filtered: Array) -> Array:
        """Return the changes of the spikes, ``s - s0``, for changes (T, trials, N, ...) of psp(x)."""
        # Changes of the potential in widths; the refraction of changed spikes is added step by step.
        changed = filtered / self.width
        if len(self.nu) < 2:
            return self._integral(self.z0[:, None], changed)
        found = np.empty(changed.shape)
        refraction = (self.nu[1:] / self.width).reshape(-1, *(1 for _ in changed.shape[1:]))
        for t in range(len(changed)):
            found[t] = self._integral(self.z0[t], changed[t])
            following = changed[t + 1 : t + len(self.nu)]
            following += refraction[: len(following)] * found[t]
        return found

    def _integral(self, z0: Array, change: Array) -> Array:
        """Return the integral of ``height exp(-|z|)`` over the potential, from z0 to z0 + change (in widths)."""
        low, high = np.minimum(z0, z0 + change), np.maximum(z0, z0 + change)
        # On one side of the threshold it is a difference of exponentials; across it, the sum of both sides.
        near = np.exp(-np.minimum(abs(low), abs(high)))
        one_side = near * -np.expm1(-abs(change))
        across = 2.0 - np.exp(np.minimum(low, 0.0)) - np.exp(-np.maximum(high, 0.0))
        size = np.where((low < 0) & (high > 0), across, one_side)
        return self.height * self.width * np.copysign(size, change)
