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

    The integral of rho is its primitive. Loihi's neurons have `Loihi.response` in place of psp, and no refraction:
    their reset is dropped, as in their gradient.

    Args:
        neurons: the neurons.
        u0: (T, N, ...), their potentials in the run.
    """

    def __init__(self, neurons: Neuron, u0: Array) -> None:
        if neurons.relaxed is None:
            raise TypeError(f"Relaxed: neurons must have a surrogate with a primitive, got {type(neurons).__name__}")
        self.neurons, self.nu, self.peak = neurons, neurons.refractory, neurons.peak
        self.surrogate = neurons.relaxed
        self.width, self.height = self.surrogate.width, self.surrogate.height * neurons.dt
        self.z0 = (u0.astype(np.float64) - neurons.theta) / self.width

    def slope(self) -> Array:
        """Return the derivative of each spike with respect to its potential in the run, ``dt rho(u0)``."""
        return self.height * self.surrogate.f(self.z0)

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
        """Return the integral of ``dt rho`` over the potential, from z0 to z0 + change (in widths)."""
        return self.height * self.width * self.surrogate.difference(z0, change)
