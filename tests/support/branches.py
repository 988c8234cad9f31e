"""Networks with branches, nested networks and shared layers."""

from __future__ import annotations

import numpy as np

import cuslayer as cs

# A wide surrogate and small weights: errors must not vanish far from the threshold.
SRM = cs.SRM(tau_sr=4.0, tau_rho=20.0, scale_rho=20.0)
EXACT = cs.SRM(tau_sr=4.0, tau_rho=20.0, scale_rho=20.0, gradient="exact")
FRAMES = (6, 5, 2)


def spikes(*shape, rate=0.3, steps=25, samples=2, seed=0):
    return np.random.default_rng(seed).random((steps, samples, *shape)) < rate


def conv(inputs, outputs, size=3, scale=30.0):
    return cs.Conv(inputs, outputs, size, padding=size // 2, weight_scale=scale)


def skip(neuron=SRM):
    """A skip connection around a convolution with neurons."""
    around = cs.Parallel(cs.Sequential(conv(2, 2), neuron), cs.Sequential())
    return cs.Sequential(conv(2, 2), neuron, around, conv(2, 3), neuron, cs.Dense((6, 5, 3), 4), neuron)


def kernels_of_two_sizes(neuron=SRM):
    branches = cs.Sequential(conv(2, 3, 5), neuron), cs.Sequential(conv(2, 2), neuron, cs.SumPool(1, gain=11.0), neuron)
    return cs.Sequential(cs.Parallel(*branches, join="concatenate"), cs.Dense((6, 5, 5), 4), neuron)


def nested(neuron=SRM):
    inner = cs.Parallel(cs.Sequential(conv(2, 2), neuron), conv(2, 2, 1), join="concatenate")
    outer = cs.Parallel(cs.Sequential(inner, conv(4, 2, scale=5.0)), cs.Sequential(), conv(2, 2, 5))
    return cs.Sequential(
        outer, neuron, cs.Sequential(cs.Dense((6, 5, 2), 6), neuron, cs.Sequential(cs.Dense(6, 4))), neuron
    )


def shared(neuron=SRM):
    layer = conv(2, 2)
    return cs.Sequential(
        layer, neuron, layer, neuron, cs.Parallel(layer, cs.Sequential(layer, neuron)), neuron, cs.Dense((6, 5, 2), 4)
    )


def first_and_last(neuron=SRM):
    first = cs.Parallel(cs.Sequential(conv(2, 2), neuron), cs.Sequential(conv(2, 2, 1), neuron))
    last = cs.Parallel(cs.Sequential(cs.Dense((6, 5, 2), 4), neuron), cs.Sequential(cs.Dense((6, 5, 2), 4), neuron))
    return cs.Sequential(first, conv(2, 2), neuron, last)


NETWORKS = {f.__name__: f for f in (skip, kernels_of_two_sizes, nested, shared, first_and_last)}
