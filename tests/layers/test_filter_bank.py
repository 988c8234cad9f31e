"""Trained filters: against their formula, gradients of signal and taps, the layers, empty and single sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions, jit
from tests.support import reference

RNG = np.random.default_rng(31)
SHAPES = [(1, 1, 1), (7, 1, 1), (40, 2, 3), (9, 1, 257), (30, 2, 2, 3, 2), (20, 0, 4), (0, 2, 3), (3, 2, 0)]


def gradients(x, w, g):
    """Return the output of a bank, and the gradients of the signal (as numbers) and of the taps."""
    x, w = (cs.Tensor(a, requires_grad=True) for a in (x, w))
    y = functions.filter_bank(x, w)
    y.backward(g)
    return y.data, x.grad, w.grad


@settings(deadline=None, max_examples=60)
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


def test_channels_come_out_filter_by_filter():
    x = RNG.standard_normal((9, 2, 4, 3, 5))
    w = RNG.standard_normal((3, 4))
    y = functions.filter_bank(x, w).data
    assert y.shape == (9, 2, 4, 3, 15)
    for i in range(3):
        np.testing.assert_allclose(y[..., 5 * i : 5 * (i + 1)], reference.psp(x, w[i]), atol=1e-12)


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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spikes", [False, True])
def test_shapes(shape, spikes):
    x = RNG.standard_normal(shape)
    x = x > 0 if spikes else x
    w = RNG.standard_normal((2, 50))
    y, g_x, g_w = gradients(x, w, RNG.standard_normal((*shape[:-1], 2 * shape[-1])))
    assert (y.shape, g_x.shape, g_w.shape) == ((*shape[:-1], 2 * shape[-1]), shape, w.shape)
    np.testing.assert_allclose(y, reference.filter_bank(x, w), atol=1e-12)
    assert not g_w[:, len(x) :].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_result_is_of_the_weights_type(dtype):
    w = RNG.standard_normal((2, 3)).astype(dtype)
    for x in (RNG.random((8, 1, 3)) < 0.3, RNG.standard_normal((8, 1, 3)).astype(np.float32)):
        y, _, g_w = gradients(x, w, np.ones((8, 1, 6), dtype))
        assert y.dtype == g_w.dtype == dtype


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_spikes_give_the_bits_of_numbers(rate):
    """Skipping inputs of 0 gives the same bits as adding their terms, as `psp` with samples does."""
    s = RNG.random((60, 2, 70)) < rate
    w = RNG.standard_normal((3, 25)).astype(np.float32)
    g = RNG.standard_normal((60, 2, 210)).astype(np.float32)
    found = gradients(s, w, g)
    for a, b in zip(found, gradients(s.astype(np.float32), w, g), strict=True):
        assert a.tobytes() == b.tobytes()
    for i, taps in enumerate(w):
        assert (found[0][..., 70 * i : 70 * (i + 1)] == functions.psp(s, response=taps).data).all()


@pytest.mark.parametrize("shape", [(12, 2, 3), (9, 2, 3, 2, 2)])
def test_gradient(shape):
    x, w = RNG.standard_normal(shape), RNG.standard_normal((2, 5))
    assert cs.gradcheck(functions.filter_bank, x, w) < 1e-6
    assert cs.gradcheck(functions.fir, x, w[0]) < 1e-6
    assert cs.gradcheck(lambda weight: functions.filter_bank(x > 0, weight), w) < 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_adjoint(dtype, tolerance):
    """A bank is linear in the signal and in the taps."""
    x, w = RNG.standard_normal((80, 2, 33)).astype(dtype), RNG.standard_normal((3, 20)).astype(dtype)
    g = RNG.standard_normal((80, 2, 99)).astype(dtype)
    y, g_x, g_w = gradients(x, w, g)
    left = np.vdot(y.astype(float), g)
    scale = tolerance * np.linalg.norm(y) * np.linalg.norm(g)
    assert abs(left - np.vdot(x.astype(float), g_x)) < scale
    assert abs(left - np.vdot(w.astype(float), g_w)) < scale


def test_float32_sums_of_many_terms_stay_exact():
    x, g = RNG.random((2000, 4, 300)) < 0.3, np.ones((2000, 4, 300), np.float32)
    *_, g_w = gradients(x, np.ones((1, 8), np.float32), g)
    expected = [x[: len(x) - k].sum() for k in range(8)]
    np.testing.assert_allclose(g_w[0], expected, rtol=1e-6)


@pytest.mark.cpu_only
def test_the_same_bits_on_any_number_of_cores(monkeypatch):
    x, w = RNG.random((40, 3, 301)) < 0.2, RNG.standard_normal((2, 9)).astype(np.float32)
    g = RNG.standard_normal((40, 3, 602)).astype(np.float32)
    runs = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(jit, "cores", lambda cores=cores: cores)
        runs.append([a.tobytes() for a in gradients(x, w, g)])
    assert runs[0] == runs[1] == runs[2]


def test_a_temporal_filter_starts_as_the_spike_response():
    srm = cs.SRM(tau_sr=3.0)
    layer = cs.TemporalFilter(srm)
    np.testing.assert_array_equal(layer.weight.data, srm.response.astype(np.float32))
    assert layer.parameters() == [layer.weight]
    assert repr(layer) == f"TemporalFilter({len(srm.response)} taps)"
    for shape in ((30, 2, 5), (30, 1, 3, 4, 2)):
        s = RNG.random(shape) < 0.2
        np.testing.assert_allclose(layer(s).data, srm.psp(s).data, atol=1e-5)
    never_cut = cs.TemporalFilter(cs.SRM(tau_sr=1.0, cutoff=0))
    assert never_cut.weight.shape == cs.SRM(tau_sr=1.0, cutoff=0).response.shape


def test_a_bank_starts_uniform_and_seeded():
    cs.seed(4)
    bank = cs.FilterBank(50, 64, scale=2.0)
    values = bank.weight.data
    assert values.shape == (50, 64)
    assert values.dtype == np.float32
    assert 0.99 * 0.25 < np.abs(values).max() <= 0.25
    assert values.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.03)
    cs.seed(4)
    assert (cs.FilterBank(50, 64, 2.0).weight.data == values).all()
    assert np.abs(cs.FilterBank(50, 64).weight.data).max() <= 0.125
    assert repr(bank) == "FilterBank(50, 64)"
    assert bank.parameters() == [bank.weight]


def test_a_filter_is_learned():
    """Training finds the response of a target."""
    srm = cs.SRM(tau_sr=4.0)
    layer = cs.TemporalFilter(cs.SRM(tau_sr=2.0, cutoff=1e-4))
    s = RNG.random((60, 4, 5)) < 0.2
    target = srm.psp(s).data
    optimizer = cs.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(100):
        error = layer(s) - cs.Tensor(target)
        loss = (error * error).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_filters_in_a_network():
    srm = cs.SRM(theta=2.0, tau_sr=3.0)
    psp, bank = cs.TemporalFilter(srm), cs.FilterBank(2, 5, scale=4.0)
    net = cs.Sequential(psp, cs.Dense(6, 5), srm.spike, bank, cs.Dense(10, 3), srm)
    x = RNG.random((30, 2, 6)) < 0.3
    out = net(x)
    assert out.dtype == bool
    assert out.data.any()
    cs.SpikeTimeLoss(srm)(out, RNG.random((30, 2, 3)) < 0.1).backward()
    assert [p.shape for p in net.parameters()] == [psp.weight.shape, (6, 5), (2, 5), (10, 3)]
    for p in net.parameters():
        assert p.grad.any()


def test_errors():
    x = np.ones((3, 1, 2))
    with pytest.raises(ValueError, match=r"fir: x must be \(T, N, ...\), got shape \(3,\)"):
        functions.fir(np.ones(3), np.ones(2))
    for shape in ((1, 2), (0,), ()):
        with pytest.raises(ValueError, match=r"fir: weight must be \(taps,\), one tap at least, got shape \("):
            functions.fir(x, np.ones(shape))
    with pytest.raises(TypeError, match="fir: weight must be float32 or float64, got bool"):
        functions.fir(x, np.ones(2, bool))
    with pytest.raises(ValueError, match=r"filter_bank: x must be \(T, N, C\), got shape \(3, 1\)"):
        functions.filter_bank(np.ones((3, 1)), np.ones((2, 2)))
    message = r"filter_bank: weight must be \(count, taps\), one tap at least, got shape \("
    for shape in ((2,), (0, 2), (2, 0)):
        with pytest.raises(ValueError, match=message):
            functions.filter_bank(x, np.ones(shape))
    with pytest.raises(TypeError, match="filter_bank: weight must be float32 or float64, got bool"):
        functions.filter_bank(x, np.ones((1, 2), bool))
    with pytest.raises(TypeError, match="TemporalFilter: neuron must be a neuron, got int"):
        cs.TemporalFilter(3)
    with pytest.raises(ValueError, match="FilterBank: count must be at least 1, got 0"):
        cs.FilterBank(0, 3)
    with pytest.raises(ValueError, match="FilterBank: taps must be at least 1, got 0"):
        cs.FilterBank(3, 0)
    with pytest.raises(TypeError, match="FilterBank: taps must be an integer, got float"):
        cs.FilterBank(3, 2.0)
    with pytest.raises(ValueError, match="FilterBank: scale must be positive, got 0"):
        cs.FilterBank(3, 2, scale=0)
    with pytest.raises(TypeError, match="FilterBank: scale must be a number, got NoneType"):
        cs.FilterBank(3, 2, scale=None)
