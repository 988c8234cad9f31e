"""Tests of Loihi: the integers against a plain loop in Python, and the gradient against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu
from cuslayer.kernels.step.filters import Sampled
from cuslayer.neurons import loihi
from tests.support import reference

pytestmark = pytest.mark.all

RNG = np.random.default_rng(17)

neurons = st.builds(
    cs.Loihi,
    vth_mant=st.one_of(st.integers(1, 300), st.integers(1, 2**17 - 1)),
    v_decay=st.integers(1, 4095),
    i_decay=st.integers(1, 4095),
    ref_delay=st.one_of(st.just(1), st.integers(1, 8), st.integers(1, 64)),
    wgt_exp=st.integers(-7, 7),
    first_bin=st.booleans(),
    surrogate_at=st.sampled_from(["before_reset", "recorded"]),
)
dtypes = st.sampled_from([np.float32, np.float64])


def forward(x, constants):
    return loihi.run(cpu, x, constants)


def adjoint(g, u, constants):
    return loihi.adjoint(cpu, g, u, constants)


def drive(seed, shape, dtype, scale):
    """Weighted inputs of a size: whole numbers, as of quantized weights, or not."""
    x = np.random.default_rng(seed).normal(0.1, 1, shape) * scale
    return (np.rint(x) if seed % 2 else x).astype(dtype)


def recorded(neuron, v, s):
    return np.where(s, neuron.v_decay, v) if neuron.surrogate_at == "recorded" else v


@settings(deadline=None, max_examples=200)
@given(neurons, st.integers(0, 60), st.integers(0, 5), dtypes, st.floats(0, 6), st.integers(0, 999))
def test_the_integers_are_those_of_a_plain_loop(neuron, steps, columns, dtype, size, seed):
    x = drive(seed, (steps, columns), dtype, 10**size)
    u, s = forward(x, neuron.constants)
    v, spikes = reference.loihi(x, neuron)
    assert u.dtype == dtype
    np.testing.assert_array_equal(s, spikes)
    np.testing.assert_array_equal(u.astype(np.int64), recorded(neuron, v, spikes).astype(np.int64))
    assert (neuron(x.reshape(steps, 1, columns)).data.reshape(x.shape) == spikes).all()


def test_every_step_of_a_decay_is_exact():
    """States and decays at random, and at the edges of the halves of a state: all pairs would have 35 bits."""
    edges = [0, 1, 4095, 4096, 4097, 2**22 - 1, 2**22, 2**23 - 4096, 2**23 - 1]
    states = np.concatenate([RNG.integers(0, 2**23, 2000), edges]).astype(float)
    states = np.concatenate([states, -states])
    for decay in (1, 2, 1023, 1024, 2048, 4094, 4095, *RNG.integers(1, 4096, 20)):
        neuron = cs.Loihi(vth_mant=2**17 - 1, v_decay=4095, i_decay=int(decay), wgt_exp=-6)
        # v is what the current is, but for the rest of one step: 1/4096th of it.
        x = np.stack([states, np.zeros(len(states))])
        v, _ = reference.loihi(x, neuron)
        np.testing.assert_array_equal(forward(x.astype(np.float32), neuron.constants)[0], v)


def test_numbers_of_the_response():
    response = cs.Loihi().response
    assert (len(response), response.max(), response.dtype) == (110, 195, np.float64)
    assert response[0] == 64
    assert response[-1] == 0
    assert response[-2] == 0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 4095), st.integers(20, 4095), st.integers(-7, 2))
def test_the_response_is_the_voltage_after_an_input_of_two_halved(v_decay, i_decay, wgt_exp):
    neuron = cs.Loihi(vth_mant=2**17 - 1, v_decay=v_decay, i_decay=i_decay, wgt_exp=wgt_exp)
    x = np.zeros((len(neuron.response), 1))
    x[0] = 2
    v, s = reference.loihi(x, neuron)
    assert not s.any()
    np.testing.assert_array_equal(neuron.response, v[:, 0] / 2)
    assert (neuron.response[:-1] > 0).all()
    assert neuron.response[-1] == 0
    with pytest.raises(ValueError, match="read-only"):
        neuron.response[0] = 1


@settings(deadline=None, max_examples=60)
@given(neurons, st.integers(1, 40), st.integers(1, 4), st.floats(0.1, 2), st.floats(0.1, 2), st.integers(0, 99))
def test_the_gradient_is_its_formula(neuron, steps, columns, tau_rho, scale_rho, seed):
    constants = {name: getattr(neuron, name) for name in ("vth_mant", "v_decay", "i_decay", "ref_delay", "wgt_exp")}
    constants |= {"first_bin": neuron.first_bin, "surrogate_at": neuron.surrogate_at}
    neuron = cs.Loihi(**constants, tau_rho=tau_rho, scale_rho=scale_rho, dt=0.5)
    x = drive(seed, (steps, columns), np.float64, neuron.theta / 2.0 ** (6 + neuron.wgt_exp))
    g = np.random.default_rng(seed + 1).standard_normal(x.shape)
    t = cs.Tensor(x[:, None], requires_grad=True)
    neuron(t).backward(g[:, None])
    v, s = reference.loihi(x, neuron)
    width = tau_rho * neuron.theta
    scale = scale_rho / neuron.response.max()
    rho = scale / width * np.exp(-np.abs(recorded(neuron, v, s) - neuron.theta) / width)
    expected = 0.5 * reference.psp_adjoint(g * rho, neuron.response[:steps])
    np.testing.assert_allclose(t.grad[:, 0], expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_the_voltage_is_held_from_the_spike_on():
    x = np.full((12, 1), 40.0)
    for ref_delay, times in ((1, [*range(1, 12)]), (2, [1, 3, 5, 7, 9, 11]), (4, [1, 5, 9])):
        u, s = forward(x, cs.Loihi(ref_delay=ref_delay).constants)
        assert np.flatnonzero(s).tolist() == times
        held = [t + k for t in times for k in range(1, ref_delay) if t + k < 12]
        assert (u[held] == 0).all()
        assert (u[times] > 5120).all()
        seen, again = forward(x, cs.Loihi(ref_delay=ref_delay, surrogate_at="recorded").constants)
        assert (again == s).all()
        np.testing.assert_array_equal(seen, np.where(s, 128, u))


def test_a_spike_needs_more_than_the_threshold():
    assert forward(np.array([[80.0, 81.0]]), cs.Loihi().constants)[1].tolist() == [[False, True]]


def test_states_saturate():
    neuron = cs.Loihi(vth_mant=2**17 - 1, v_decay=1, i_decay=1)
    most = 2**23 - 1
    for value in (2.0**17, 1e30, np.inf):
        for dtype in (np.float32, np.float64):
            x = np.array([[value, -value]] * 3, dtype)
            u, s = forward(x, neuron.constants)
            assert u[0].tolist() == [most, -most]
            assert u[:, 1].tolist() == [-most] * 3
            # The largest threshold is 63 under the largest voltage.
            assert s[:, 0].tolist() == [True, True, True]
    # A saturated state decays from its limit: 1e5 brings the current to 6.4 million, and over the limit one step later.
    for scale in (1, -1):
        x = scale * np.array([1e5, 1e5, 1e5, 1e7, 0, 0, 0, 0, 0, -1e5, 0, 0])[:, None]
        for fast in (neuron, cs.Loihi(vth_mant=2**17 - 1, v_decay=4095, i_decay=2000)):
            u, s = forward(x.astype(np.float32), fast.constants)
            v, spikes = reference.loihi(x, fast)
            assert np.abs(v).max() == most
            np.testing.assert_array_equal(u, v)
            np.testing.assert_array_equal(s, spikes)
    # NaN does not fire, and the gradient stays finite.
    t = cs.Tensor(np.full((3, 1, 1), np.nan), requires_grad=True)
    out = neuron(t)
    out.backward(np.ones(out.shape))
    assert not out.data.any()
    assert np.isfinite(t.grad).all()
    x = np.array([[np.nan], [1e7], [1e7]])
    assert forward(x, neuron.constants)[1].ravel().tolist() == [False, False, True]


def test_inputs_are_rounded_after_they_are_scaled():
    # 64 w of 0.5, 1.5, 2.5 and 2.49: halves to even.
    x = np.array([[0.5, 1.5, 2.5, 2.49, -0.5, -1.5]]) / 64
    assert forward(x, cs.Loihi().constants)[0].tolist() == [[0, 2, 2, 2, 0, -2]]


def test_bin_0_has_no_effect_where_slayer_has_none():
    x = np.zeros((20, 1, 1), np.float32)
    x[0] = 1000
    assert cs.Loihi()(x).data[0].all()
    late = cs.Loihi(first_bin=False)
    assert not late(x).data.any()
    x[3] = 100
    assert (late(x).data[1:] == cs.Loihi()(x[1:]).data).all()


def test_constants_are_made_once_for_a_neuron():
    neuron = cs.Loihi()
    net = cs.Sequential(cs.Dense(4, 3), neuron, cs.Dense(3, 2), neuron)
    net(np.zeros((3, 1, 4), bool))
    assert neuron.constants is neuron.constants
    assert neuron.constants.height == 1 / (5120 * 195)
    assert neuron.scale_rho == 1.0
    assert cs.Loihi() == neuron
    assert neuron.theta == 5120


def test_losses_filter_by_a_response_of_peak_one():
    neuron = cs.Loihi(dt=2.0)
    eps = neuron.response / 195
    assert isinstance(neuron.filter, Sampled)
    np.testing.assert_array_equal(neuron.filter.samples(), eps)
    assert neuron.filter.dt == 2.0
    s = RNG.random((40, 2, 3)) < 0.2
    np.testing.assert_allclose(neuron.psp(s).data, reference.psp(s.astype(float), eps), atol=1e-5)


@pytest.mark.parametrize("vth_mant", [80, 100_000])
def test_half_of_the_memory(vth_mant):
    """Saved as float16 in units of the threshold, any voltage fits, and the gradient error is 1e-3."""
    neuron = cs.Loihi(vth_mant=vth_mant)
    x = RNG.normal(0.05, 1, (50, 2, 5)) * neuron.theta / 64
    grads = []
    for potentials in ("full", "float16"):
        t = cs.Tensor(x, requires_grad=True)
        out = cs.Sequential(neuron, potentials=potentials)(t)
        out.backward(np.ones(out.shape))
        grads.append(t.grad)
    np.testing.assert_allclose(grads[1], grads[0], rtol=0, atol=1e-3 * np.abs(grads[0]).max())
    assert not (grads[0] == grads[1]).all()
