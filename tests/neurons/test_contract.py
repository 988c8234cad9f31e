"""The contract of a neuron: its defaults, and what completes an object without the base class."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from tests.neurons.test_own_neuron import LIF


class Plain:
    """Not a `Neuron`, but with what one needs."""

    theta, dt, peak = 0.5, 2.0, 4.0
    response = np.array([2.0, 4.0])

    def psp(self, x):
        return x

    def __call__(self, x):
        return cs.Tensor(x.data > 0)


def test_what_a_neuron_is():
    assert is_neuron(LIF())
    assert is_neuron(Plain())
    for part in ("theta", "psp"):
        lacking = {name: value for name, value in vars(Plain).items() if name not in (part, "__dict__", "__weakref__")}
        assert not is_neuron(type("Lacking", (), lacking)())
    assert not is_neuron(cs.Dense(2, 2))
    with pytest.raises(TypeError, match=r"^neuron must be a neuron, got Dense$"):
        as_neuron(cs.Dense(2, 2))


def test_an_object_is_completed_by_the_defaults():
    """What it has goes before what the contract says."""
    neuron = LIF()
    assert as_neuron(neuron) is neuron
    plain = as_neuron(Plain())
    assert (plain.theta, plain.dt, plain.peak, plain.period, plain.gradient) == (0.5, 2.0, 4.0, 1, "slayer")
    assert plain.response.tolist() == [2.0, 4.0]
    assert plain.refractory.tolist() == [0.0]
    assert plain.pool_gain == pytest.approx(0.55)
    assert plain.one_pass is None
    assert plain(cs.Tensor([1.0, -1.0])).data.tolist() == [True, False]


@pytest.mark.all
def test_the_defaults():
    class Bare(Neuron):
        theta = -2.0

    bare = Bare()
    assert (bare.dt, bare.period, bare.peak, bare.parts, bare.width) == (1.0, 1, 1.0, "partial", 2.0)
    assert bare.pool_gain == pytest.approx(-2.2)
    assert (bare.one_pass, bare.relaxed, bare.surrogate(np.zeros(3)), bare.names) == (None, None, None, None)
    assert bare.with_gradient("exact") is bare
    x = np.random.default_rng(0).standard_normal((5, 1, 2))
    np.testing.assert_array_equal(bare.psp(cs.Tensor(x)).data, x)
    with pytest.raises(TypeError, match=r"^Bare: a neuron must define __call__$"):
        bare(x)
    Bare.theta = 0.0
    assert bare.width == 1.0


def test_a_potential_at_the_threshold_fires():
    """The threshold is rounded to the potential's type, as kernels have it."""
    neuron = LIF(theta=np.float64(0.7))
    for dtype in (np.float32, np.float64):
        at = dtype(0.7)
        below, above = np.nextafter(at, dtype(0)), np.nextafter(at, dtype(1))
        assert neuron.fires(np.array([below, at, above])).tolist() == [False, True, True]


def test_psp_has_a_peak_of_one():
    class Slow(LIF):
        peak = 2.0
        response = np.array([0.0, 2.0, 1.0])

    x = np.zeros((4, 1, 1), np.float32)
    x[0] = 1
    assert Slow().psp(cs.Tensor(x)).data.ravel().tolist() == [0.0, 1.0, 0.5, 0.0]
