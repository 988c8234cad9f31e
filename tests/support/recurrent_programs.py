"""Recurrent populations from the programs of their neurons: what goes round is repeated until nothing changes.

A spike reaches its population at a later step, so that each repetition makes at least one more step right, forward and
back. Nothing here knows a loop over time with synapses in it.
"""

from __future__ import annotations

import numpy as np

from cuslayer import SRM, AdaptiveLIF
from tests.support import reference, step_programs


def keeps_of(neuron):
    """Return the shares that a step keeps of the states, by the formula; none of spike response neurons."""
    if isinstance(neuron, SRM):
        return []
    found = [np.exp(-neuron.dt / np.asarray(getattr(neuron, name))) for name in neuron.time_constants]
    return found if len(found) > 1 else [np.zeros(1), *found]


def filters(srm, steps):
    """Return the samples of both filters, cut as SLAYER cuts them."""
    response = reference.alpha(1.0, srm.tau_sr, srm.dt, srm.cutoff, steps)
    return response, reference.alpha(-srm.scale_ref * srm.theta, srm.tau_ref, srm.dt, srm.ref_cutoff, steps)


def fire(neuron, z):
    """Return the potential and the spikes for the weighted input z (T, N, ...)."""
    if isinstance(neuron, SRM):
        response, refractory = filters(neuron, len(z))
        return reference.spike(reference.psp(z, response), refractory, neuron.theta)
    if isinstance(neuron, AdaptiveLIF):
        return step_programs.adaptive(z, keeps_of(neuron), neuron)[:2]
    return step_programs.leaky(z, *keeps_of(neuron), neuron.theta, neuron.reset)[1:3]


def errors(neuron, z, g):
    """Return the gradients of z and of the shares, by neuron and sample, for that of the spikes g."""
    if isinstance(neuron, AdaptiveLIF):
        return step_programs.adaptive_reverse(z, g, keeps_of(neuron), neuron)
    if not isinstance(neuron, SRM):
        return step_programs.leaky_reverse(z, g, *keeps_of(neuron), neuron)
    response, refractory = filters(neuron, len(z))
    u, _ = fire(neuron, z)
    exact = neuron.gradient == "exact"
    of_u = reference.spike_adjoint_exact(g, u, neuron, refractory) if exact else reference.spike_adjoint(g, u, neuron)
    return (reference.psp_adjoint(of_u, response),)


class DenseWeights:
    """A dense layer from a population to itself, w (lags neurons, neurons)."""

    def __init__(self, w):
        self.w = w.reshape(-1, w.shape[1], w.shape[1])

    def send(self, s):
        flat = s.reshape(*s.shape[:2], self.w.shape[1]).astype(float)
        return sum(later(flat, lag) @ w for lag, w in enumerate(self.w)).reshape(s.shape)

    def back(self, y):
        flat = y.reshape(*y.shape[:2], self.w.shape[1])[::-1]
        return sum(later(flat, lag) @ w.T for lag, w in enumerate(self.w))[::-1].reshape(y.shape)

    def gradient(self, s, y):
        flat, errors = s.reshape(*s.shape[:2], self.w.shape[1]).astype(float), y.reshape(-1, self.w.shape[2])
        sent = (later(flat, lag).reshape(errors.shape) for lag in range(len(self.w)))
        return np.concatenate([each.T @ errors for each in sent])


class ConvWeights:
    """A convolution from a population to itself."""

    def __init__(self, w, padding, dilation, groups):
        self.w, self.padding, self.dilation, self.groups = w, padding, dilation, groups

    def send(self, s):
        frames = s.reshape(-1, *s.shape[2:]).astype(float)
        options = (1, 1), self.padding, self.dilation, self.groups
        return reference.conv(frames, self.w, *options).reshape(s.shape)

    def back(self, y):
        window = self.w.shape[:2], (1, 1), self.padding, self.dilation
        frames = y.reshape(-1, *y.shape[2:])
        return reference.conv_input_adjoint(frames, self.w, y.shape[2:4], window, self.groups).reshape(y.shape)

    def gradient(self, s, y):
        """The convolution is linear in its weight: the gradient of each is the response to a weight of 1 alone."""
        out = np.zeros(self.w.shape)
        for at in np.ndindex(self.w.shape):
            one = np.zeros(self.w.shape)
            one[at] = 1.0
            out[at] = (ConvWeights(one, self.padding, self.dilation, self.groups).send(s) * y).sum()
        return out


def later(x, delay):
    """Return x delayed."""
    return np.concatenate([np.zeros_like(x[:delay]), x])[: len(x)]


def earlier(x, delay):
    return later(x[::-1], delay)[::-1]


def spikes(neuron, x, weights, delay):
    """Return potential, spikes and weighted input of a recurrent population."""
    u, s = fire(neuron, x)
    for _ in range(len(x) // delay + 1):
        z = x + weights.send(later(s, delay))
        u, s = fire(neuron, z)
    return u, s, z


def gradients(neuron, x, g, weights, delay):
    """Return the gradients of x, of the weights, and of the shares by neuron and sample."""
    _, s, z = spikes(neuron, x, weights, delay)
    found = errors(neuron, z, g)
    for _ in range(len(x) // delay + 1):
        found = errors(neuron, z, g + weights.back(earlier(found[0], delay)))
    return found[0], weights.gradient(later(s, delay), found[0]), *found[1:]
