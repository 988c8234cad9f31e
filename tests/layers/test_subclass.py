"""Subclasses of the library's layers: tensors and layers that they add belong to them."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs

NEURON = cs.SRM(tau_rho=30.0)


def adding(kind):
    """Return a subclass of a layer that adds a tensor and a layer."""

    class Adding(kind):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.gain, self.more = cs.Tensor([2.0], requires_grad=True), {"dense": cs.Dense(2, 2)}

        def __call__(self, x):
            y = super().__call__(x) * self.gain
            return self.more["dense"](y) if y.shape[-1] == 2 else y

    return Adding


LAYERS = {
    "Dense": (cs.Dense, (4, 2), {}),
    "normed": (cs.Dense, (4, 2), {"weight_hook": cs.WeightNorm}),
    "Conv": (cs.Conv, (2, 2, 3), {}),
    "Pool": (cs.Pool, (2,), {"gain": 1.0}),
    "Delay": (cs.Delay, (4,), {"dt": 1.0}),
    "FilterBank": (cs.FilterBank, (2, 3), {}),
    "TemporalFilter": (cs.TemporalFilter, (NEURON,), {}),
    "Dropout": (cs.Dropout, (0.5,), {}),
}


@pytest.mark.parametrize("case", LAYERS)
def test_what_a_subclass_adds_is_found(case):
    kind, args, options = LAYERS[case]
    made = {name: value() if isinstance(value, type) else value for name, value in options.items()}
    fresh = {name: value() if isinstance(value, type) else value for name, value in options.items()}
    plain, layer = kind(*args, **made), adding(kind)(*args, **fresh)
    assert list(layer.state()) == [*plain.state(), "gain", "more.dense.weight"]
    assert layer.parameters()[-2:] == [layer.gain, layer.more["dense"].weight]
    before = list(cs.Sequential(plain).named_parameters())
    assert list(cs.Sequential(layer).named_parameters()) == [*before, "0.gain", "0.more.dense.weight"]
    nested = cs.Sequential(cs.Sequential(layer))
    assert list(nested.named_parameters()) == [*(f"0.{name}" for name in before), "0.0.gain", "0.0.more.dense.weight"]


def test_it_is_trained_and_loaded():
    net, other = (cs.Sequential(adding(cs.Dense)(4, 2), NEURON) for _ in range(2))
    optimizer = cs.Adam(net.parameters())
    before = net.state()
    (net(np.ones((30, 2, 4), bool)) * 1.0).sum().backward()
    optimizer.step()
    after = net.state()
    assert all((after[name] != before[name]).any() for name in ("0.0", "0.gain", "0.more.dense.weight"))
    other.load_state(after)
    np.testing.assert_array_equal(other[0].more["dense"].weight.data, net[0].more["dense"].weight.data)
    other[0].more["dense"].training = True
    other.train(False)
    assert not other[0].more["dense"].training


def test_parameters_of_ones_own_decide():
    class Frozen(cs.Dense):
        def parameters(self):
            return [self.gain]

    class Extended(cs.Dense):
        def parameters(self):
            return [*super().parameters(), self.gain]

    class Body(cs.Sequential):
        def parameters(self):
            return super().parameters()[:1]

    for kind, names in ((Frozen, ["0.0"]), (Extended, ["0.0", "0.1"])):
        layer = kind(4, 2)
        layer.gain = cs.Tensor([1.0], requires_grad=True)
        assert list(cs.Sequential(layer).state()) == names
        assert len(layer.parameters()) == len(names)
    body = Body(cs.Dense(4, 2), cs.Dense(2, 2))
    assert body.parameters() == [body[0].weight]
    assert list(cs.Sequential(body).state()) == ["0.0"]
