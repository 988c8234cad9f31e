"""What `calibrate` refuses, before it changes a weight."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.training import Trainer

SRM = cs.SRM(tau_sr=4.0)
X = np.random.default_rng(0).random((40, 3, 6)) < 0.3


def chain(neuron=SRM):
    return cs.Sequential(cs.Dense(6, 4), neuron, cs.Dense(4, 2), neuron)


NET = chain()
LOIHI = cs.Loihi(ref_delay=4)

ERRORS = {
    "no network": (TypeError, (lambda x: x, [X]), {}, "net must be a Network or Sequential, got function"),
    "no neurons": (TypeError, (cs.Sequential(cs.Dense(6, 4)), [X]), {}, "net has no neurons"),
    "nothing": (TypeError, (cs.Sequential(), [X]), {}, "net has no neurons"),
    "rate 0": (ValueError, (NET, [X], 0), {}, "rate must be positive, got 0"),
    "a word": (TypeError, (NET, [X], "fast"), {}, "rate must be a number, got str"),
    "output 0": (ValueError, (NET, [X]), {"output_rate": -1.0}, "output_rate must be positive, got -1"),
    "no samples": (ValueError, (NET, [X]), {"samples": 0}, "samples must be at least 1, got 0"),
    "half a sample": (TypeError, (NET, [X]), {"samples": 0.5}, "samples must be an integer, got float"),
    "a spike a step": (ValueError, (NET, [X], 1000), {}, f"rate must be under 1000 Hz, the most of {SRM!r}, got 1000"),
    "output too fast": (
        ValueError,
        (NET, [X]),
        {"output_rate": 1500},
        f"output_rate must be under 1000 Hz, the most of {SRM!r}, got 1500",
    ),
    "refractory": (
        ValueError,
        (chain(LOIHI), [X], 1000 / LOIHI.period),
        {},
        f"rate must be under {1000 / LOIHI.period:g} Hz, the most of {LOIHI!r}, got {1000 / LOIHI.period:g}",
    ),
    "an array": (TypeError, (NET, X), {}, "batches must be batches (x, target), got ndarray; pass [(x, target)]"),
    "a tensor": (
        TypeError,
        (NET, cs.Tensor(X)),
        {},
        "batches must be batches (x, target), got Tensor; pass [(x, target)]",
    ),
    "a number": (TypeError, (NET, 3), {}, "batches must be batches (x, target), got int; pass [(x, target)]"),
    "a pair alone": (ValueError, (NET, [(X,)]), {}, "a batch must be x or (x, target), got 1 items"),
    "no time": (ValueError, (NET, [X[0, 0]]), {}, "x must be (T, N, ...), got shape (6,)"),
    "no batch": (ValueError, (NET, []), {}, "batches must have a sample with a time step, got none"),
    "an empty batch": (ValueError, (NET, [X[:, :0]]), {}, "batches must have a sample with a time step, got none"),
    "no step": (ValueError, (NET, [X[:0]]), {}, "batches must have a sample with a time step, got none"),
    "two shapes": (
        ValueError,
        (NET, [X[:, :1], X[:20]]),
        {},
        "batches must have one shape, got (20, 3, 6) after (40, 1, 6)",
    ),
    "a layer alone": (
        TypeError,
        (NET, [X]),
        {"keep": NET[0]},
        "keep must be layers or positions, got Dense; pass [layer]",
    ),
    "a position alone": (TypeError, (NET, [X]), {"keep": 0}, "keep must be layers or positions, got int; pass [layer]"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    kind, given, options, message = ERRORS[name]
    before = [p.data for p in NET.parameters()]
    with pytest.raises(kind, match="^" + re.escape(f"calibrate: {message}") + "$"):
        cs.calibrate(*given, **options)
    assert all(p.data is a for p, a in zip(NET.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (X[:, :, :5], ValueError, "x has 5 features, weight expects 6"),
        (np.full((4, 1, 6), np.nan), ValueError, "network: x must be finite"),
        ("x.npy", TypeError, "network: x must be an array (T, N, ...), got the path 'x.npy'; read the file first"),
    ],
)
def test_an_input_that_does_not_fit(x, kind, message):
    before = [p.data for p in NET.parameters()]
    with pytest.raises(kind, match=re.escape(message)):
        cs.calibrate(NET, [x])
    assert all(p.data is a for p, a in zip(NET.parameters(), before, strict=True))


def test_a_later_layer_that_does_not_fit_leaves_the_first_as_it_was():
    net = cs.Sequential(cs.Dense(6, 4), SRM, cs.Dense(4, 2), SRM)
    net.layers[2] = cs.Dense(5, 2)
    before = net[0].weight.data
    with pytest.raises(ValueError, match="x has 4 features, weight expects 5"):
        cs.calibrate(net, [X])
    assert net[0].weight.data is before


def test_layers_to_keep_are_in_the_network():
    with pytest.raises(IndexError, match=r"no layer 4 in 4$"):
        cs.calibrate(NET, [X], keep=[4])
    with pytest.raises(ValueError, match=r"Dense\(6, 4\) is none of its layers$"):
        cs.calibrate(NET, [X], keep=[cs.Dense(6, 4)])


def test_the_rate_of_a_trainer():
    given = NET, cs.SpikeCountLoss(SRM), cs.SGD(NET.parameters())
    with pytest.raises(ValueError, match=r"^Trainer: calibrate must be positive, got 0$"):
        Trainer(*given, calibrate=0)
    with pytest.raises(TypeError, match=r"^Trainer: calibrate must be a number, got str$"):
        Trainer(*given, calibrate="fast")
