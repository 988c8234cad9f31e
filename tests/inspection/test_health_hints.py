"""Health of dead networks: silent input, layers that never fire, layers without an error."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs


def small(neuron=None):
    cs.seed(0)
    neuron = neuron or cs.SRM()
    return cs.Sequential(cs.Dense(5, 6, weight_scale=40.0), neuron, cs.Dense(6, 2, weight_scale=40.0), neuron)


def weighing(first, last):
    net = small()
    for layer, weight in zip(net.layers[::2], (first, last), strict=True):
        if weight is not None:
            layer.weight.data[...] = weight
    return net


BUSY, LABELS = np.random.default_rng(0).random((30, 4, 5)) < 0.3, [0, 1, 0, 1]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_silent_input_is_named_and_gives_no_advice(biased, optimized, dtype):
    """Also where a bias makes the neurons fire, and of several batches only where all are silent."""
    net, silent = small(cs.SRM(tau_rho=0.05)), np.zeros((30, 4, 5), dtype)
    if biased:
        net.layers[0] = cs.Dense(5, 6, bias=cs.Tensor(np.full(6, 30.0, np.float32)))
    optimizer = cs.Adam(net.parameters(), 1e-9) if optimized else None
    found = cs.health(net, [(silent, LABELS)] * 2, optimizer=optimizer, batches=2)
    assert found.advice == ()
    assert found.hints[0].startswith("the input is 0 everywhere; check the recordings")
    assert found[1].silent is not biased
    assert "\nhint: the input is 0 everywhere" in str(found)
    assert "nothing to change" not in str(found)
    if dtype is bool:
        loud = cs.health(net, [(silent, LABELS), (BUSY, LABELS)], batches=2)
        assert not any("0 everywhere" in hint for hint in loud.hints)


NO_INPUT = "its weighted input is 0: the layer before it sends no spikes, or has weights of 0"
NO_RISE = "its input never raises the potential; draw the weights before it anew, or give that layer a bias"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0.0, None, {1: NO_INPUT, 3: NO_INPUT}),
        (-5.0, None, {1: NO_RISE, 3: NO_INPUT}),
        (None, -5.0, {3: NO_RISE}),
        (None, 0.0, {3: NO_INPUT}),
    ],
)
def test_a_layer_that_never_fires_gets_advice_or_a_hint(first, last, expected):
    net = weighing(first, last)
    found = cs.health(net, [(BUSY, LABELS)])
    advised = {each.layer for each in found.advice}
    never = [layer for layer in found.layers if layer.silent]
    assert {layer.layer for layer in never} == expected.keys()
    for layer in never:
        assert layer.layer not in advised
        assert f"{layer.name} never fires: {expected[layer.layer]}" in found.hints
    assert "nothing to change" not in str(found)


def test_layers_without_an_error_are_named():
    """By weights of 0 behind them, by a surrogate that is 0, or by a loss without a gradient."""
    behind = cs.health(weighing(None, 0.0), [(BUSY, LABELS)])
    assert any(hint.startswith("layer 1 (Dense(5, 6), SRM) gets no error: the surrogate") for hint in behind.hints)
    none = "no layer gets an error: the surrogate is 0 at all potentials, or the loss has no gradient here"
    narrow = cs.SRM(surrogate="boxcar", tau_rho=1e-6)
    assert none in cs.health(small(narrow), [(BUSY, LABELS)]).hints
    constant = lambda spikes, target: (spikes * 0.0).sum() + 1.0  # noqa: E731
    assert none in cs.health(small(), [(BUSY, LABELS)], loss=constant).hints
    assert cs.health(small(), [(BUSY, LABELS)], loss=lambda spikes, target: (spikes * 0.0).sum()).hints == ()


def test_a_healthy_network_has_no_hints():
    net = small()
    cs.calibrate(net, [BUSY], 60.0)
    found = cs.health(net, [(BUSY, LABELS)])
    assert (found.hints, found.advice) == ((), ())
    assert str(found).endswith("advice: nothing to change")


def test_an_output_that_is_to_be_nearly_silent_is_aimed_at_five_hertz():
    """A loss that desires a spike in a thousand seconds: a silent output could not learn it."""

    class Rare(cs.SpikeCountLoss):
        def desired_rate(self, target, outputs, steps):
            return 1e-3

    x, loss = np.random.default_rng(1).random((400, 8, 5)) < 0.3, Rare(cs.SRM(), true=1, false=0)
    net = weighing(None, None)
    cs.calibrate(net, [x], 60.0)
    net[2].weight.data *= np.float32(1e-3)
    found = cs.health(net, [(x, [0, 1] * 4)], loss=loss)
    (advice,) = found.advice
    assert (advice.layer, found[3].silent) == (3, True)
    advice.apply(net)
    assert 2.5 < cs.health(net, [(x, [0, 1] * 4)], loss=loss)[3].rate < 10


@pytest.mark.parametrize(("desired", "least", "most"), [(None, 14, 21), (200.0, 58, 68)])
def test_neurons_that_can_fire_rarely_are_aimed_at_a_share_of_their_highest_rate(desired, least, most):
    """Of 143 Hz, or of half that: a quarter for a hidden layer, nine tenths for an output whose loss desires more."""

    class Often(cs.SpikeCountLoss):
        def desired_rate(self, target, outputs, steps):
            return desired

    x, neuron = np.random.default_rng(1).random((400, 8, 5)) < 0.3, cs.Loihi(ref_delay=7)
    cs.seed(0)
    net = cs.Sequential(cs.Dense(5, 6, weight_scale=1e-3), neuron)
    if desired is None:
        net = cs.Sequential(*net.layers, cs.Dense(6, 2, weight_scale=200.0), neuron)
    loss = Often(neuron, true=1, false=0)
    target = np.arange(8) % (6 if desired else 2)
    found = cs.health(net, [(x, target)], loss=loss)
    assert found[1].silent
    next(each for each in found.advice if each.layer == 1).apply(net)
    assert least < cs.health(net, [(x, target)], loss=loss)[1].rate < most
