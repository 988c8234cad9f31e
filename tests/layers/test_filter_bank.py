"""Trained filters: against their formula, gradients of signal and taps, the layers, empty and single sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

pytestmark = pytest.mark.all

RNG = np.random.default_rng(31)
SHAPES = [(1, 1, 1), (7, 1, 1), (40, 2, 3), (9, 1, 257), (30, 2, 2, 3, 2), (20, 0, 4), (0, 2, 3), (3, 2, 0)]


def gradients(x, w, g):
    """Return the output of a bank, and the gradients of the signal (as numbers) and of the taps."""
    x, w = (cs.Tensor(a, requires_grad=True) for a in (x, w))
    y = functions.filter_bank(x, w)
    y.backward(g)
    return y.data, x.grad, w.grad


@settings(max_examples=60)
@given(
    steps=st.integers(1, 40),
    batch=st.integers(1, 2),
    channels=st.integers(1, 150),
    filters=st.integers(1, 3),
    taps=st.integers(1, 20),
    spikes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_bank_is_the_sum_as_it_is_written(steps, batch, channels, filters, taps, spikes, seed):
    generator = np.random.default_rng(seed)
    x, w = generator.standard_normal((steps, batch, channels)), generator.standard_normal((filters, taps))
    x = x > 1 if spikes else x
    g = generator.standard_normal((steps, batch, filters * channels))
    y, g_x, g_w = gradients(x, w, g)
    np.testing.assert_allclose(y, reference.filter_bank(x, w), atol=1e-12)
    by_filter = g.reshape(steps, batch, filters, channels)
    expected = sum(reference.psp_adjoint(by_filter[:, :, i], w[i]) for i in range(filters))
    np.testing.assert_allclose(g_x, expected, atol=1e-12)
    expected = reference.filter_bank_weight_adjoint(x, g, filters, taps)
    np.testing.assert_allclose(g_w, expected, atol=1e-11)


@pytest.mark.parametrize("shape", [*SHAPES, (5, 2)])
def test_one_filter_is_a_psp_by_samples(shape):
    x, w, g = RNG.standard_normal(shape), RNG.standard_normal(6), RNG.standard_normal(shape)
    ours, theirs = (cs.Tensor(x, requires_grad=True) for _ in range(2))
    weight = cs.Tensor(w, requires_grad=True)
    y, expected = functions.fir(ours, weight), functions.psp(theirs, response=w)
    np.testing.assert_allclose(y.data, expected.data, atol=1e-12)
    y.backward(g)
    expected.backward(g)
    np.testing.assert_allclose(ours.grad, theirs.grad, atol=1e-12)
    expected = reference.filter_bank_weight_adjoint(x.reshape(len(x), -1), g.reshape(len(x), -1), 1, 6) if x.size else 0
    np.testing.assert_allclose(weight.grad, np.broadcast_to(expected, (1, 6))[0], atol=1e-11)


def test_float32_sums_of_many_terms_stay_exact():
    x, g = RNG.random((2000, 4, 300)) < 0.3, np.ones((2000, 4, 300), np.float32)
    *_, g_w = gradients(x, np.ones((1, 8), np.float32), g)
    expected = [x[: len(x) - k].sum() for k in range(8)]
    np.testing.assert_allclose(g_w[0], expected, rtol=1e-6)


def test_a_temporal_filter_starts_as_the_spike_response():
    srm = cs.SRM(tau_sr=3.0)
    layer = cs.layers.TemporalFilter(srm)
    np.testing.assert_array_equal(layer.weight.data, srm.response.astype(np.float32))
    assert layer.parameters() == [layer.weight]
    assert repr(layer) == f"TemporalFilter({len(srm.response)} taps)"
    for shape in ((30, 2, 5), (30, 1, 3, 4, 2)):
        s = RNG.random(shape) < 0.2
        np.testing.assert_allclose(layer(s).data, srm.psp(s).data, atol=1e-5)
    never_cut = cs.layers.TemporalFilter(cs.SRM(tau_sr=1.0, cutoff=0))
    assert never_cut.weight.shape == cs.SRM(tau_sr=1.0, cutoff=0).response.shape


def test_a_bank_starts_uniform_and_seeded():
    cs.seed(4)
    bank = cs.layers.FilterBank(50, 64, scale=2.0)
    values = bank.weight.data
    assert values.shape == (50, 64)
    assert values.dtype == np.float32
    assert 0.99 * 0.25 < np.abs(values).max() <= 0.25
    assert values.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.03)
    cs.seed(4)
    assert (cs.layers.FilterBank(50, 64, 2.0).weight.data == values).all()
    assert np.abs(cs.layers.FilterBank(50, 64).weight.data).max() <= 0.125
    assert repr(bank) == "FilterBank(50, 64)"
    assert bank.parameters() == [bank.weight]
