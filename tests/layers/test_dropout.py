"""Dropout silences whole neurons, and their gradient is 0."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions


def test_a_neuron_is_silent_for_the_whole_sample():
    y = functions.dropout(np.ones((20, 50, 40)), p=0.25).data
    assert (y == y[0]).all()
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert np.mean(y[0] == 0) == pytest.approx(0.25, abs=0.03)
    assert len(np.unique(y[0], axis=0)) == 50  # each sample draws its own


def test_gradient():
    def dropped(x):
        cs.seed(3)
        return functions.dropout(x, p=0.4)

    assert cs.gradcheck(dropped, np.random.default_rng(0).standard_normal((5, 2, 6))) < 1e-6


def test_seed_decides():
    def run():
        return functions.dropout(np.ones((1, 1, 100), np.float32), p=0.5).data

    cs.seed(1)
    first, second = run(), run()
    cs.seed(1)
    assert (run() == first).all()
    assert (first != second).any()


def test_spikes_become_numbers_and_pass_out_of_training():
    s = np.ones((2, 1, 3), bool)
    layer = cs.Dropout(0.5)
    assert layer(s).dtype == np.float32
    layer.training = False
    assert layer(s).data is s
    assert repr(layer) == "Dropout(0.5)"


@pytest.mark.parametrize("shape", [(0, 1, 2), (2, 0, 3), (1, 1)])
def test_shapes(shape):
    assert functions.dropout(np.ones(shape), p=0.5).shape == shape


def test_errors():
    for p in (1.0, -0.1):
        with pytest.raises(ValueError, match=rf"dropout: p must lie in \[0, 1\), got {p:g}"):
            functions.dropout(np.ones((1, 1)), p=p)
    with pytest.raises(TypeError, match="Dropout: p must be a number, got NoneType"):
        cs.Dropout(None)
    with pytest.raises(ValueError, match=r"dropout: x must be \(T, N, ...\), got shape \(3,\)"):
        functions.dropout(np.ones(3), p=0.5)


def test_a_gradient_passes_out_of_training():
    layer, x = cs.Dropout(0.5), cs.Tensor(np.ones((3, 1, 2)), requires_grad=True)
    layer.training = False
    (layer(x) * 3.0).sum().backward()
    assert (x.grad == 3.0).all()
