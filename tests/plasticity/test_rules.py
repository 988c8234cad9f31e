"""Local rules: the changes of weights are those of the papers' formulas, by sums over pairs and triplets of spikes."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.plasticity import STDP
from tests.support.refused import refused

FREE = (-1e9, 1e9)
# Pfister and Gerstner 2006, table 4: visual cortex, all to all.
CORTEX = STDP(
    a_plus=5e-10,
    a_minus=7e-3,
    triplet_plus=6.2e-3,
    triplet_minus=2.3e-4,
    tau_plus=16.8,
    tau_minus=33.7,
    tau_x=101.0,
    tau_y=125.0,
    bounds=FREE,
)


def train(*times, steps=200):
    spikes = np.zeros((steps, 1, 1), bool)
    spikes[list(times)] = True
    return spikes


def drawn(share, *sizes, seed=0, steps=80, samples=1):
    rng = np.random.default_rng(seed)
    return [rng.random((steps, samples, size)) < share for size in sizes]


def change(rule, pre, post, start=0.0, **options):
    return (rule(pre, post, np.full((1, 1), start), **options) - start).item()


@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_the_curve_of_pairs_is_the_formula(dt):
    rule = STDP(a_plus=0.03, a_minus=0.02, tau_plus=17.0, tau_minus=34.0, bounds=FREE)
    for apart in range(-80, 81):
        measured = change(rule, train(100), train(100 + apart), dt=dt)
        formula = 0.03 * np.exp(-apart * dt / 17.0) if apart >= 0 else -0.02 * np.exp(apart * dt / 34.0)
        np.testing.assert_allclose(measured, formula, rtol=1e-13)


def trace(times, at, tau, dt, *, itself):
    return sum(np.exp(-(at - k) * dt / tau) for k in times if k < at or (itself and k == at))


def triplets(rule, pre, post, dt):
    """Return the change of one synapse by equations 3 and 4 of the paper, spike by spike."""
    pre, post, total = np.flatnonzero(pre), np.flatnonzero(post), 0.0
    for at in pre:
        x = trace(pre, at, rule.tau_x, dt, itself=False)
        total -= trace(post, at, rule.tau_minus, dt, itself=False) * (rule.a_minus + rule.triplet_minus * x)
    for at in post:
        y = trace(post, at, rule.tau_y, dt, itself=False)
        total += trace(pre, at, rule.tau_plus, dt, itself=True) * (rule.a_plus + rule.triplet_plus * y)
    return total


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_triplets_are_those_of_the_paper(dt):
    pre, post = drawn(0.2, 4, 3)
    weight = CORTEX(pre, post, np.zeros((4, 3)), dt=dt)
    loops = [[triplets(CORTEX, pre[:, 0, i], post[:, 0, j], dt) for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(weight, loops, rtol=1e-12)


def at_rate(rule, hz, apart):
    """Return the change by 60 pairs of spikes at a rate."""
    times = np.arange(60) * round(1000 / hz) + 100
    return change(rule, train(*times, steps=times[-1] + 100), train(*(times + apart), steps=times[-1] + 100))


def test_pairs_at_a_high_rate_strengthen_by_triplets():
    """Sjöström et al. 2001: at a low rate, only the order of spikes counts; at 50 Hz both orders strengthen."""
    before = [at_rate(CORTEX, hz, 10) for hz in (1, 10, 20, 40, 50)]
    after = [at_rate(CORTEX, hz, -10) for hz in (1, 10, 20, 40, 50)]
    assert np.diff(before).min() > 0
    assert abs(before[0]) < 0.1 * before[-1]
    assert max(after[:2]) < 0 < after[-1]


def test_a_nearest_trace_counts_one_spike():
    rule = STDP(a_plus=0.1, tau_plus=20.0, bounds=FREE, nearest=True)
    np.testing.assert_allclose(change(rule, train(50, 90), train(100)), 0.1 * np.exp(-0.5), rtol=1e-13)
    both = 0.1 * (np.exp(-0.5) + np.exp(-2.5))
    np.testing.assert_allclose(change(STDP(a_plus=0.1, bounds=FREE), train(50, 90), train(100)), both, rtol=1e-13)


def test_an_offset_weakens_inputs_without_recent_spikes():
    rule = STDP(a_plus=0.1, a_minus=0.0, tau_plus=20.0, offset=0.5, bounds=FREE)
    np.testing.assert_allclose(change(rule, train(), train(100)), -0.05, rtol=1e-13)
    np.testing.assert_allclose(change(rule, train(100), train(100)), 0.05, rtol=1e-13)


@pytest.mark.parametrize("soft", [0.5, 1.0])
def test_soft_bounds_scale_a_change_by_the_distance_to_the_bound(soft):
    rule = STDP(a_plus=0.1, a_minus=0.2, soft=soft, bounds=(-1.0, 3.0))
    up, down = train(100), train(101)
    np.testing.assert_allclose(change(rule, up, up, 0.5), 0.1 * 2.5**soft, rtol=1e-13)
    np.testing.assert_allclose(change(rule, down, up, 0.5), -0.2 * 1.5**soft * np.exp(-1 / 20), rtol=1e-13)


@pytest.mark.parametrize("soft", [0.0, 1.0])
def test_weights_stay_within_the_bounds(soft):
    pre, post = drawn(0.5, 5, 6, samples=3, steps=200)
    for sizes in ({"a_plus": 0.7, "a_minus": 0.1}, {"a_plus": 0.1, "a_minus": 0.7}):
        weight = STDP(**sizes, soft=soft, bounds=(0.2, 0.8))(pre, post, np.full((5, 6), 0.5, np.float32))
        assert weight.dtype == np.float32
        assert np.float32(0.2) <= weight.min() < weight.max() <= np.float32(0.8)


def test_the_sign_of_the_reward_is_that_of_the_change():
    rule = STDP(a_plus=0.03, a_minus=0.02, eligibility=100.0, bounds=FREE)
    pairs = train(50), train(60)
    better, worse, none = (change(rule, *pairs, reward=reward) for reward in (2.0, -2.0, 0.0))
    expected = 2 * 0.03 * np.exp(-10 / 20) * np.exp(-(199 - 60) / 100)
    np.testing.assert_allclose([better, worse, none], [expected, -expected, 0.0], rtol=1e-12)


def test_samples_add_up():
    pre, post = drawn(0.2, 4, 3, samples=3)
    rule = STDP(bounds=FREE)
    alone = [rule(pre[:, [n]], post[:, [n]], np.zeros((4, 3))) for n in range(3)]
    np.testing.assert_allclose(rule(pre, post, np.zeros((4, 3))), sum(alone), rtol=1e-12)


def test_refusals():
    pre, post = drawn(0.2, 4, 3)
    for name in ("tau_plus", "tau_minus", "tau_x", "tau_y", "eligibility"):
        refused(f"STDP: {name} must be positive", lambda name=name: STDP(**{name: 0.0}))
    refused("STDP: soft must not be negative", lambda: STDP(soft=-1.0))
    refused("STDP: bounds must be a smaller and a larger number", lambda: STDP(bounds=(1.0, 1.0)))
    refused("STDP: pre, post and weight must be (T, N, inputs)", lambda: STDP()(pre, post, np.zeros((3, 4))))
    refused("STDP: the input of a layer that learns must be spikes", lambda: STDP()(pre * 1.0, post, np.zeros((4, 3))))
    refused("STDP: weight must be", lambda: STDP()(pre, post, np.zeros((4, 3), int)))
    assert cs.plasticity.STDP is STDP
