"""Arguments of recurrent kernels: gradients between chunks of time, and the convolution from a population to itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window


@dataclass
class PopulationMemory:
    """The state of a population between calls.

    Attributes:
        states: (states, columns).
        inputs: (steps, samples, neurons), the weighted inputs within the response.
        fired: (steps, samples, neurons), the spikes within refraction and the longest delay.
        rings: whether `inputs` and `fired` are ring buffers, as on the CPU; else their last rows are the last step.
        steps: the number of steps so far.
    """

    states: Array
    inputs: Array
    fired: Array
    rings: bool
    steps: int = 0

    def last_spikes(self, delay: int) -> Array:
        """Return the spikes of the last `delay` steps, (delay, samples, neurons)."""
        if not self.rings:
            return self.fired[len(self.fired) - delay :].copy()
        return self.fired[np.arange(self.steps - delay, self.steps) % len(self.fired)].view(bool)

    def copy(self) -> PopulationMemory:
        """Return a copy."""
        return replace(self, states=self.states.copy(), inputs=self.inputs.copy(), fired=self.fired.copy())


class Later(NamedTuple):
    """The gradients that backward over a chunk of time leaves for backward over the chunk before it."""

    states: Array  # (states, columns)
    ring: Array  # (steps, columns), values of later steps that backward uses again; on the CPU a ring buffer
    errors: Array  # (longest delay, columns), the gradients of the next weighted inputs


class Geometry(NamedTuple):
    """The convolution from a population to itself: the window, and the number of groups."""

    window: Window
    groups: int


def by_lag(weight: Array) -> Array:
    """Return a weight (lags neurons, neurons) as (lags, neurons, neurons)."""
    neurons = weight.shape[1]
    return weight.reshape(len(weight) // max(neurons, 1), neurons, neurons)


def lags_of(weight: Array, geometry: Geometry | None) -> int:
    """Return the number of lags of the weight of a population to itself."""
    return 1 if geometry else len(by_lag(weight))
