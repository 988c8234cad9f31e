"""Checks of a network's input: NaN, infinity, pixels, spikes without a layer, orders of axes."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Digits, Loader
from tools.fake_cupy import strict

SRM = cs.SRM()
RNG = np.random.default_rng(0)


def refuses(message, kind=ValueError):
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


def networks():
    return cs.Network("4-3", SRM), cs.Sequential(cs.Dense(4, 3), SRM)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(value):
    x = RNG.random((10, 2, 4))
    x[7, 1, 2] = value
    for net in networks():
        for given in (x, x.astype(np.float32), cs.Tensor(x), x.tolist()):
            for active in (True, False):
                with cs.no_grad(active), refuses(f"network: x must be finite, got {value} in it"):
                    net(given)


def test_pixels_warn_once_for_a_network():
    pixels = RNG.integers(0, 256, (10, 2, 4))
    pixels[0, 0, 0] = 255
    for net in networks():
        for given in (pixels, pixels.astype(np.uint8), pixels.astype(np.float32)):
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                net(given)
                line = found and found[0]
            if given is pixels:
                assert (len(found), line.category, line.filename) == (1, UserWarning, __file__)
                assert str(line.message) == (
                    "network: x looks like pixels from 0 to 255, its largest value is 255; divide it by 255, or make "
                    "spikes of it, as encode_poisson(x / 255, steps=...) does"
                )
            else:
                assert not found


def test_good_input_does_not_warn():
    net = cs.Network("4-3", SRM)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shape = (10, 2, 4)
        currents = RNG.normal(0, 100, shape), 200 * RNG.standard_normal(shape), 1000 * RNG.random(shape)
        currents += tuple(scale * RNG.random(shape) for scale in (140.0, 200.0, 254.0))
        for x in (RNG.random(shape), RNG.random(shape) < 0.2, RNG.poisson(1, shape), np.zeros(shape), *currents):
            net(x)
        net(np.zeros((0, 2, 4)))
        digits = cs.Network("34x34x2-4", SRM)
        digits(next(iter(Loader(Digits("test"), 4, steps=20)))[0])


def test_a_network_within_a_network_is_not_checked():
    inner = cs.Sequential(cs.Dense(3, 2), SRM)
    outer = cs.Sequential(cs.Dense(4, 3), lambda x: x * 0.0 + 200.0, inner)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outer(RNG.random((10, 2, 4)))
    broken = cs.Sequential(cs.Dense(4, 3), lambda x: x * np.nan, inner)
    assert broken(RNG.random((10, 2, 4))).shape == (10, 2, 2)
    with pytest.raises(ValueError, match=r"^network: x must be finite"):
        inner(np.full((10, 2, 3), np.nan))


def test_spikes_are_not_looked_at(monkeypatch):
    def fail(*arguments):
        raise AssertionError

    monkeypatch.setattr("cuslayer.check.finite_range", fail)
    for net in networks():
        net(RNG.random((10, 2, 4)) < 0.5)


def test_numbers_on_a_device():
    x = RNG.random((10, 2, 4)).astype(np.float32)
    expected = cs.Network("4-3", SRM)(x).shape
    with strict():
        cs.use("cuda")
        net = cs.Network("4-3", SRM)
        assert net(backend.to_device(x)).shape == net(cs.Tensor(x)).shape == expected
        x[3, 0, 1] = np.nan
        with refuses("network: x must be finite, got nan in it"):
            net(backend.to_device(x))
        cs.use("cpu")


@pytest.mark.parametrize("neuron", [cs.SRM(), cs.Loihi(), cs.SRM().spike])
def test_neurons_refuse_spikes(neuron):
    spikes = RNG.random((10, 2, 4)) < 0.5
    calls = [neuron, cs.Sequential(neuron)]
    calls += [] if neuron == cs.SRM().spike else [cs.Sequential(cs.Dense(4, 4), neuron, neuron)]
    for call in calls:
        with pytest.raises(TypeError) as found:
            call(spikes)
        name, rule = re.match(r"^\w+: (\w) must be (.*)$", str(found.value)).groups()
        assert name in "xa"
        assert rule == (
            "the weighted input of a layer, float32 or float64, got spikes (bool); put a layer, such as Dense or Conv, "
            "before the neurons"
        )


@pytest.mark.parametrize(
    ("shape", "notation", "hint"),
    [
        ((30, 6, 5, 2), "6x5x2-3", "; one sample needs a batch axis, x[:, None]"),
        ((30, 4), "4-3", "; one sample needs a batch axis, x[:, None]"),
        ((2, 2, 6, 5, 30), "6x5x2-3", "; it looks like (N, C, H, W, T), which from_nchwt converts"),
        ((30, 2, 2, 6, 5), "6x5x2-3", "; channels come last, np.moveaxis(x, 2, -1)"),
        ((30, 2, 6, 5), "6x5x1-3", "; frames of one channel need its axis, x[..., None]"),
        ((30, 2, 7), "4-3", ""),
        ((4,), "4-3", ""),
        ((30, 2, 60), "6x5x2-3", "; frames are not flat, x.reshape(*x.shape[:2], 6, 5, 2)"),
        ((30, 2, 2, 2, 1), "4-3", "; flatten it, x.reshape(*x.shape[:2], 4)"),
    ],
)
def test_an_input_of_another_shape_is_explained(shape, notation, hint):
    net = cs.Network(notation, SRM)
    wanted = ", ".join(map(str, net.input_shape))
    with refuses(f"network: x must be (T, N, {wanted}) for {notation}, got shape {shape}{hint}"):
        net(np.zeros(shape, bool))
