"""Sigma-delta neurons: a program of a step to the bit, gradients of plain reverse sweeps, networks, errors."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from tests.support import step_programs

pytestmark = pytest.mark.all

SHAPES = [(0, 2, 3), (1, 1, 1), (40, 3, 7), (30, 2, 3, 2, 2), (9, 1, 1111)]
KINDS = [(activation, sums) for activation in ("relu", "none") for sums in (True, False)]


def drawn(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.6, shape)


@pytest.mark.parametrize(("activation", "sums"), KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_sent_is_that_of_a_program_to_the_bit(shape, activation, sums):
    neuron = cs.neurons.SigmaDelta(theta=0.5, activation=activation, sums=sums)
    # Numbers of few bits: the sum of what was sent is the last activation without rounding.
    x = np.round(drawn(shape) * 64) / 64
    out = neuron(x).data
    assert out.dtype == x.dtype
    if shape[0]:
        _, change, sent, known = step_programs.sigma_delta(x, 0.5, activation, sums)
        assert (out == np.where(sent, change, 0.0)).all()
        assert (out.cumsum(axis=0) == known).all()
        net = cs.Sequential(neuron)
        with cs.record(net) as seen:
            net(x)
        assert (seen[0].potential == change).all()
        assert (neuron.fires(change) == sent).all()


def test_a_network_computes_what_its_activations_do():
    """With a threshold near 0, sums of the output are those of a network of rectified units at each step."""
    cs.seed(0)
    first, second = cs.Dense(6, 8), cs.Dense(8, 4)
    small = cs.neurons.SigmaDelta(theta=1e-9)
    net = cs.Sequential(cs.neurons.SigmaDelta(theta=1e-9, activation=None, sums=False), first, small, second, small)
    x = drawn((20, 2, 6)).astype(np.float32)
    expected = np.maximum(np.maximum(x @ first.weight.data, 0) @ second.weight.data, 0)
    assert np.allclose(net(x).data.cumsum(axis=0), expected, atol=1e-3 * abs(expected).max())


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize(("activation", "sums"), KINDS)
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_gradients_are_those_of_a_plain_reverse_sweep(gradient, activation, sums, dt):
    neuron = cs.neurons.SigmaDelta(
        0.5, activation=activation, sums=sums, gradient=gradient, tau_rho=0.7, scale_rho=1.3, dt=dt
    )
    x, g = drawn((30, 2, 5)), drawn((30, 2, 5), 1)
    given = cs.Tensor(x, requires_grad=True)
    neuron(given).backward(g)
    expected = step_programs.sigma_delta_reverse(x, g, neuron)
    assert abs(given.grad - expected).max() < 1e-10 * abs(expected).max()


@pytest.mark.parametrize(("activation", "sums"), KINDS)
def test_without_a_surrogate_the_exact_gradient_is_that_of_differences(activation, sums):
    """What is sent is piecewise linear in x: a surrogate of almost no height leaves the derivative."""
    neuron = cs.neurons.SigmaDelta(theta=0.5, activation=activation, sums=sums, gradient="exact", scale_rho=1e-30)
    assert cs.gradcheck(neuron, drawn((12, 2, 3), 5)) < 1e-6
