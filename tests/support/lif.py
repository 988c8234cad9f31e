"""User-written neurons: a leaky integrate-and-fire neuron, and an object without the base class."""

from __future__ import annotations

import numpy as np

from cuslayer import functions
from cuslayer._tape import differentiable
from cuslayer.kernels.step.filters import Sampled
from cuslayer.neurons.base import Neuron


@differentiable
def fire(x, /, *, neuron):
    """Integrate x with a leak, fire at the threshold and reset to 0; backward drops the path through the reset."""
    u, v = np.zeros_like(x), np.zeros_like(x[:0].sum(axis=0))
    for t in range(len(x)):
        v = u[t] = neuron.keep * v + x[t]
        v = np.where(neuron.fires(v), 0, v)

    def pullback(g):
        error, of_x = np.zeros_like(v), np.zeros_like(x)
        for t in reversed(range(len(x))):
            error = of_x[t] = neuron.keep * error + neuron.dt * neuron.surrogate(u[t]) * g[t]
        return of_x

    return neuron.fires(u), pullback


class LIF(Neuron):
    """A leaky integrate-and-fire neuron with a surrogate that falls linearly to 0."""

    def __init__(self, theta=1.0, tau=4.0, dt=1.0):
        self.theta, self.tau, self.dt = theta, tau, dt
        self.keep = float(np.exp(-dt / tau))

    def __call__(self, x):
        return fire(x, neuron=self)

    @property
    def response(self):
        return self.keep ** np.arange(round(6 * self.tau / self.dt))

    def surrogate(self, u):
        return np.maximum(0, 1 - np.abs(u - self.theta) / self.width) / self.width


class Lookalike:
    """A threshold, a response and a call, without the base class: it fires where its input reaches the threshold."""

    theta, dt = 2.0, 0.5

    def __call__(self, x):
        return x >= self.theta

    @property
    def response(self):
        return np.array([1.0, 0.5])

    def psp(self, x):
        return functions.psp(x, response=Sampled(self.response, self.dt))
