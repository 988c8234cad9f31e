"""Tests of compare_gradients: one neuron by hand, every layer, and wrong gradients that it must detect."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer._tape import differentiable
from cuslayer.backend import numeric
from cuslayer.inspection.compare import Relaxed

pytestmark = pytest.mark.all

SMALL = ("weight", "potential", "delay")
SPIKES = ("shift", "add", "remove")


def spread(shape, share, seed=0):
    return np.random.default_rng(seed).random(shape) < share


def case(*layers, srm, x, outputs, steps=60, samples=2, **options):
    """Compare for random spikes, with a loss whose backward is its derivative."""
    net = cs.Sequential(*layers)
    options = {"loss": cs.SpikeTimeLoss(srm), "perturbations": 12} | options
    return net, cs.inspection.compare_gradients(
        net, spread((steps, samples, *x), 0.15), spread((steps, samples, outputs), 0.1, 1), **options
    )


def mlp(srm, **options):
    cs.seed(1)
    return case(cs.Dense(12, 9), srm, cs.Dense(9, 3, weight_scale=20), srm, srm=srm, x=(12,), outputs=3, **options)


def test_one_neuron_by_hand():
    """One weight w, one input spike at 0: u is w eps plus refraction, and the loss 3 per spike."""
    srm = cs.SRM(tau_sr=3.0, tau_ref=2.0, scale_ref=1.5, tau_rho=0.7, scale_rho=0.8, ref_cutoff=5.0)
    layer = cs.Dense(1, 1)
    layer.weight.data[:] = 40.0
    x = np.zeros((12, 1, 1), bool)
    x[0] = True
    found = cs.inspection.compare_gradients(
        cs.Sequential(layer, srm), x, None, loss=lambda s, _: s.sum() * 3.0, perturbations=4
    )
    eps, nu = (np.concatenate([f, np.zeros(12)])[:12] for f in (srm.response, srm.refractory))
    u, s = 40.0 * eps, np.zeros(12)
    for t in range(12):
        if u[t] >= 10.0:
            s[t] = 1.0
            u[t:] += nu[: 12 - t]
    assert s.sum() > 1
    rho = 0.8 / 7.0 * np.exp(-abs(u - 10.0) / 7.0)
    slayer = rho * 3.0
    exact = np.zeros(12)
    for t in reversed(range(12)):
        exact[t] = rho[t] * (3.0 + nu[1 : 12 - t] @ exact[t + 1 :])
    weight = found[1, "weight"]
    np.testing.assert_allclose(abs(weight.slayer), abs(slayer @ eps), rtol=1e-9)
    np.testing.assert_allclose(abs(weight.exact), abs(exact @ eps), rtol=1e-9)
    np.testing.assert_allclose(weight.measured, weight.exact, rtol=1e-5)
    assert weight.ratio("slayer") == pytest.approx((slayer @ eps) / (exact @ eps), rel=1e-5)
    assert weight.agreement == pytest.approx((1.0, weight.ratio("slayer")), rel=1e-5)
    assert found.loss == 3.0 * s.sum()
    for kind, change in (("shift", 0.0), ("add", 3.0), ("remove", -3.0)):
        row = found[1, kind]
        assert set(row.measured) == set(row.slayer) == set(row.exact) == {change}
    assert len(found[1, "remove"].measured) == min(4, int(s.sum()))


def test_the_relaxed_threshold_is_the_integral_of_the_surrogate():
    srm = cs.SRM(tau_rho=0.5, scale_rho=1.3, dt=0.5, scale_ref=0.0)
    u0 = np.array([-20.0, 4.0, 9.0, 10.0, 12.0, 30.0]).reshape(-1, 1, 1)
    relaxed = Relaxed(srm, u0)
    height = 0.5 * 1.3 / 5.0
    for change in (-40.0, -3.0, -1e-9, 0.0, 1e-9, 0.5, 25.0):
        found = relaxed.changes(np.full((6, 1, 1, 1), change)).ravel()
        for start, growth in zip(u0.ravel(), found, strict=True):
            v = np.linspace(start, start + change, 200_001)
            density = height * np.exp(-abs(v - 10.0) / 5.0)
            expected = np.sum((density[1:] + density[:-1]) / 2 * np.diff(v))
            assert growth == pytest.approx(expected, rel=1e-6, abs=1e-14)
    np.testing.assert_allclose(relaxed.slope().ravel(), height * np.exp(-abs(u0.ravel() - 10.0) / 5.0))
    everything = relaxed.changes(np.full((6, 1, 1, 1), 1e4)) - relaxed.changes(np.full((6, 1, 1, 1), -1e4))
    np.testing.assert_allclose(everything, 2 * 1.3 * 0.5, rtol=1e-9)  # Laplace's distribution, scaled


@pytest.mark.parametrize("neurons", [cs.SRM(tau_sr=4.0), cs.Loihi()], ids=["srm", "loihi"])
def test_every_layer(neurons):
    cs.seed(3)
    delay = cs.Delay(8, dt=1.0, mode="linear")
    gain = 11.0 if isinstance(neurons, cs.SRM) else neurons.pool_gain
    scale = 30.0 if isinstance(neurons, cs.SRM) else 100.0
    weights = [
        cs.Conv(2, 3, 3, weight_scale=scale, weight_hook=(cs.WeightNorm(), lambda w: w * 1.5)),
        cs.Dense((3, 3, 3), 8),
    ]
    weights[1].weight.data *= scale / 10
    last = cs.Dense(8, 4, weight_scale=scale, delays=cs.SynapticDelays(3.0))
    layers = (weights[0], neurons, cs.SumPool(2, gain=gain), neurons, cs.Dropout(0.5), weights[1], neurons, delay)
    net, found = case(*layers, cs.layers.Shift(1.0), last, neurons, srm=neurons, x=(8, 7, 2), outputs=4)
    net.train(False)
    value = cs.SpikeTimeLoss(neurons)(net(spread((60, 2, 8, 7, 2), 0.15)), spread((60, 2, 4), 0.1, 1))
    assert found.loss == pytest.approx(value.item(), rel=1e-5)
    measured = {(row.layer, row.perturbed) for row in found.rows}
    assert {(1, "weight"), (3, "potential"), (6, "weight"), (6, "shift"), (7, "delay"), (10, "add")} <= measured
    assert not any(perturbed.startswith("delays.") for _, perturbed in measured)
    for row in found.rows:
        if row.perturbed in SMALL:
            assert abs(row.measured).max() > 0, row
            assert row.cosine("exact") == pytest.approx(1.0, abs=1e-3), row
            assert row.ratio("exact") == pytest.approx(1.0, abs=1e-2), row
        if isinstance(neurons, cs.Loihi):
            assert (row.slayer == row.exact).all()
    assert all(p.grad is None and p.dtype == np.float32 for p in net.parameters())
    assert [p for p in net.parameters() if not p.requires_grad] == [last.delays.taken]
    assert not net[4].training


def test_delays_of_whole_steps_are_perturbed_by_one():
    """Each neuron has a spike at the last bin that the loss counts; one step later it is not counted."""
    layer = cs.Delay(2, dt=0.1)
    layer.delay.data[:] = [0.1, 1.3]
    x = np.zeros((20, 1, 2), bool)
    x[[2, 0], 0, [0, 1]] = True  # they arrive at 3 and, as 1.3 ms is 13 steps, at 13

    def loss(y, _):
        return y[:4, :, 0].sum() + y[:14, :, 1].sum()

    found = cs.inspection.compare_gradients(cs.Sequential(layer), x, None, loss=loss, perturbations=9)
    assert found.loss == 2.0
    # From one step earlier to one step later: one spike less in 2 dt.
    np.testing.assert_allclose(found[0, "delay"].measured, -5.0)
    assert len(found.rows) == 1


class Twice(cs.Layer):
    """A custom layer with two parameters."""

    def __init__(self):
        self.first, self.second = (cs.Tensor([start], requires_grad=True) for start in (1.5, 0.3))

    def parameters(self):
        return [self.first, self.second]

    def __call__(self, x):
        return x * self.first * self.second


def test_a_custom_layer():
    """Linear in each parameter."""
    x = spread((60, 2, 12), 0.15)
    found = cs.inspection.compare_gradients(
        cs.Sequential(Twice()), x, None, loss=lambda y, _: y.sum(), perturbations=2, step=0.1
    )
    for perturbed, other in (("first", 0.3), ("second", 1.5)):
        np.testing.assert_allclose(abs(found[0, perturbed].measured), other * x.sum(), rtol=1e-6)
        np.testing.assert_allclose(found[0, perturbed].measured, found[0, perturbed].exact, rtol=1e-6)


def flipped(sign):
    @differentiable
    def pass_on(x, /):
        return x, lambda g: sign * g

    return pass_on


@pytest.mark.parametrize("at", [0, 1])
def test_a_wrong_sign_is_detected_in_the_layers_before_it(at):
    """A stage that flips the gradient flips it for all layers before, and for none behind."""
    srm = cs.SRM(tau_sr=4.0)
    cs.seed(1)
    layers = [cs.Dense(12, 9), srm, cs.Dense(9, 3, weight_scale=20), srm]
    layers.insert(1 if at == 0 else 4, flipped(-1.0))
    _, found = case(*layers, srm=srm, x=(12,), outputs=3)
    cosines = {(row.layer, row.perturbed): row.cosine("exact") for row in found.rows if row.perturbed in SMALL}
    wrong = {key for key, cosine in cosines.items() if cosine < -0.999}
    right = {key for key, cosine in cosines.items() if cosine > 0.999}
    assert wrong | right == cosines.keys()
    assert wrong == ({(0, "weight")} if at == 0 else cosines.keys())


def test_single_spikes_are_perturbed_one_by_one():
    """Without thresholds behind, and with a linear loss, the gradient predicts each change exactly."""
    weights = np.random.default_rng(0).standard_normal((30, 2, 5))
    srm = cs.SRM(tau_sr=4.0)
    cs.seed(1)
    net = cs.Sequential(cs.Dense(6, 5, weight_scale=20), srm, cs.layers.Shift(2.0))
    found = cs.inspection.compare_gradients(
        net, spread((30, 2, 6), 0.3), None, loss=lambda s, _: (s * cs.Tensor(weights)).sum(), perturbations=20
    )
    for kind in SPIKES:
        row = found[1, kind]
        assert len(row.measured) == 20
        np.testing.assert_allclose(row.measured, row.exact, atol=1e-9)
        assert np.unique(row.measured).size == 20
        assert row.cosine("slayer") == pytest.approx(1.0)


def test_the_rest_of_the_network_keeps_its_thresholds():
    """The output fires for two spikes, not for one: removing either spike removes the whole loss."""
    srm = cs.SRM(tau_sr=2.0, scale_ref=0.0)
    layers = [cs.Dense(2, 2), cs.Dense(2, 1)]
    layers[0].weight.data[:] = np.diag([11.0, 11.0])
    layers[1].weight.data[:] = 5.2
    x = np.zeros((8, 1, 2), bool)
    x[0] = True
    net = cs.Sequential(layers[0], cs.SRM(tau_sr=2.0), layers[1], srm)
    hidden, out = (stage.numpy().sum() for stage in (net[1](net[0](x)), net(x)))
    assert (hidden, out) == (2, 1)
    found = cs.inspection.compare_gradients(net, x, None, loss=lambda s, _: s.sum() * 5.0, perturbations=40)
    assert found[1, "remove"].measured.tolist() == [-5.0, -5.0]
    assert set(found[3, "remove"].measured) == {-5.0}
    assert set(found[3, "add"].measured) == {5.0}


def test_trials_in_several_batches_give_the_same_result(monkeypatch):
    srm = cs.SRM(tau_sr=4.0)
    _, whole = mlp(srm)
    monkeypatch.setattr("cuslayer.inspection.compare._MOST", 3000)
    _, parts = mlp(srm)
    for a, b in zip(whole.rows, parts.rows, strict=True):
        np.testing.assert_allclose(a.measured, b.measured, rtol=1e-6, atol=1e-9)
        assert (a.exact == b.exact).all()


def test_a_seed_fixes_the_perturbations_and_the_default_loss_fits_the_target():
    srm = cs.SRM(tau_sr=4.0)
    (_, a), (_, b), (_, c) = (mlp(srm, seed=seed) for seed in (0, 0, 1))
    assert a[1, "weight"].measured.tolist() == b[1, "weight"].measured.tolist() != c[1, "weight"].measured.tolist()
    assert mlp(srm, loss=None)[1].loss == a.loss
    net = cs.Network("12-9-3", srm)
    counted = cs.inspection.compare_gradients(net, spread((60, 2, 12), 0.2), [0, 2], perturbations=8)
    assert counted.loss == pytest.approx(cs.SpikeCountLoss(srm)(net(spread((60, 2, 12), 0.2)), [0, 2]).item())
    # The gradient of a count loss is larger than the change, at most by the sum of the response.
    assert 1.5 < counted[3, "potential"].ratio("exact") < 1.01 * srm.response.sum()


def test_empty_input_and_a_stage_that_stops_the_gradient():
    srm = cs.SRM()
    net = cs.Sequential(cs.Dense(3, 2), srm)
    silent = cs.inspection.compare_gradients(net, np.zeros((0, 1, 3), bool), np.zeros((0, 1, 2), bool), perturbations=2)
    row = silent[1, "weight"]
    assert row.measured.tolist() == [0.0, 0.0]
    assert math.isnan(row.cosine("slayer"))
    assert math.isnan(row.ratio("slayer"))
    assert len(silent[1, "shift"].measured) == len(silent[1, "potential"].measured) == 0

    @differentiable
    def closed(x, /):
        return numeric(x), lambda g: None

    found = cs.inspection.compare_gradients(
        cs.Sequential(cs.Dense(3, 2, weight_scale=99), srm, closed),
        spread((20, 1, 3), 0.5),
        None,
        loss=lambda s, _: s.sum(),
        perturbations=4,
    )
    assert not found[1, "add"].exact.any()
    assert (found[1, "add"].measured == 1.0).all()


def test_the_table_and_the_plot():
    _, found = mlp(cs.SRM(tau_sr=4.0))
    text, row = repr(found), found[1, "weight"]
    assert text.startswith(f"loss {found.loss:.4g}; cosine and ratio")
    assert text.count("layer 1 (Dense(12, 9), SRM)") == 1
    line = next(line for line in text.splitlines() if line.strip().startswith("weight"))
    cells = [f"{v:.3g}" for m in ("slayer", "exact") for v in (row.cosine(m), row.ratio(m))]
    assert line.split() == ["weight", "12", *cells, *(f"{v:.3g}" for v in row.agreement)]
    assert repr(row).startswith("Comparison(layer 1 (Dense(12, 9), SRM), weight: 12 perturbations, slayer cosine ")
    for value in ("cosine", "ratio"):
        ax = Figure().subplots()
        assert found.plot(ax, value=value) is ax
        labels = [text.get_text() for text in ax.get_yticklabels()]
        assert labels == [f"{row.layer} {row.perturbed}" for row in found.rows]
        for bars, mode in zip(ax.containers, ("slayer", "exact"), strict=True):
            drawn = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in bars}
            for at, row in enumerate(found.rows):
                assert drawn.get(at, math.nan) == pytest.approx(getattr(row, value)(mode), nan_ok=True)


class Other:
    """Neurons of a user's, which have no relaxed form."""

    theta, psp, filter, dt = 1.0, staticmethod(lambda x: x), None, 1.0

    def __call__(self, x):
        return x


def test_errors():
    srm = cs.SRM()
    net, x, target = cs.Network("4-2", srm), np.zeros((9, 1, 4), bool), [1]
    compare, other = cs.inspection.compare_gradients, cs.Sequential(cs.Dense(4, 2), Other())
    found = compare(net, np.ones((9, 1, 4), bool), target, perturbations=1)
    cases = [
        (TypeError, lambda: compare(3, x, target), r"net must be a Network or Sequential, got int"),
        (TypeError, lambda: compare(net, x, target, loss=3), r"loss must be a function of spikes and target, got int"),
        (ValueError, lambda: compare(net, x, target, perturbations=0), r"perturbations must be at least 1, got 0"),
        (ValueError, lambda: compare(net, x, target, step=0.0), r"step must be positive, got 0"),
        (ValueError, lambda: compare(net, x[:, 0, 0], target), r"x must be \(T, N, \.\.\.\), got shape \(9,\)"),
        (TypeError, lambda: compare(other, x, target), r"layer 1 must be SRM or Loihi to be relaxed, got Other"),
        (ValueError, lambda: found[0, "weight"], r"rows are \(1, 'weight'\), .*, got \(0, 'weight'\)"),
        (ValueError, lambda: found[1, "weight"].cosine("x"), r"mode must be one of slayer, exact, got 'x'"),
    ]
    for kind, call, message in cases:
        with pytest.raises(kind, match=rf"^compare_gradients: {message}$"):
            call()
