"""ResonateAndFire: against a program of a step in complex numbers, and a plain reverse sweep through it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.neurons.resonate_and_fire import rotation
from tests.support import step_programs

pytestmark = pytest.mark.all

RNG = np.random.default_rng(17)
RESETS = ["izhikevich", "zero", "subtract", None]
SPREADS = [(), (3,), (2, 3), (2, 1)]


def turned(neuron):
    """Return what multiplies the state in a step, by the formula."""
    size = np.exp(-neuron.dt / np.asarray(neuron.tau))
    angle = 2 * np.pi * neuron.dt / 1000 * np.asarray(neuron.frequency)
    return size * np.cos(angle) + 1j * (size * np.sin(angle))


def drawn(generator, spread, **options):
    taus, frequencies = generator.uniform(2, 30, spread), generator.uniform(5, 200, spread)
    return cs.neurons.ResonateAndFire(taus, frequencies, **options)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(RESETS),
    st.sampled_from(SPREADS),
    st.integers(1, 60),
    st.floats(0.2, 3),
    st.floats(0.1, 2),
    st.integers(0, 999),
)
def test_spikes_are_those_of_a_program_to_the_bit(reset, spread, steps, theta, dt, seed):
    """In float64; constants are one number, one a channel, or one a neuron."""
    generator = np.random.default_rng(seed)
    neuron = drawn(generator, spread, theta=theta, reset=reset, dt=dt)
    x = generator.normal(0.2, 2, (steps, 2, 2, 3)) * theta
    z, s, _ = step_programs.resonate(x, turned(neuron), neuron)
    found = neuron(x).data
    assert found.dtype == bool
    np.testing.assert_array_equal(found, s)
    carried = cs.neurons.ResonateAndFire(neuron.tau, neuron.frequency, theta=theta, reset=reset, dt=dt, graded=True)(
        x
    ).data
    np.testing.assert_array_equal(carried, np.where(s, z.imag, 0.0))
    assert neuron(x[:0]).shape == (0, 2, 2, 3)


@pytest.mark.parametrize("imaginary", [False, True])
def test_rotation(imaginary):
    def run(tau, frequency):
        return rotation(tau, frequency, dt=0.5, imaginary=imaginary)

    tau, frequency = RNG.uniform(2, 9, 3), RNG.uniform(5, 300, (2, 3))
    assert cs.gradcheck(run, tau, frequency) < 1e-6
    w = np.exp(-0.5 / tau + 2j * np.pi * frequency * 0.5 / 1000)
    np.testing.assert_allclose(run(tau, frequency).data, w.imag if imaginary else w.real, rtol=1e-12)
