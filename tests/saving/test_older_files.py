"""Files, also those of version 0.2, are read to the bit: all kinds of parts, what is shared, flags, own classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.parameter import Bounded
from tests.saving.test_own_parts import Block, Doubled, Fast, Gain, Renamed, leak, twice
from tests.support.lif import LIF

FILES = Path(__file__).parents[1] / "support/files"
SRM = cs.SRM(theta=1.5, tau_sr=4.0, tau_ref=2.0, scale_ref=3.0, tau_rho=0.5, scale_rho=0.25, gradient="exact")
OWN = [Block, Doubled, Fast, Gain, LIF, Renamed, leak, twice]


def filled(net):
    """Give every parameter numbers that depend on no random generator."""
    for number, p in enumerate(net.parameters()):
        least = 0.5 if isinstance(p, Bounded) else -1.0
        p.data[...] = (least + (np.arange(p.size) * 7 + number) % 9 / 4).reshape(p.shape)
    return net


def layers():
    hook = partial(cs.quantize, step=0.25, limits=(-4, 4))
    return filled(
        cs.Sequential(
            cs.Conv(2, 4, (3, 5), stride=(1, 2), padding=(1, 2), groups=2, weight_hook=hook, bias=True),
            SRM,
            cs.Pool((2, 1), stride=2, padding=1, gain=1.1 * SRM.theta, weight_hook=hook),
            SRM,
            cs.ConvTranspose(4, 6, 2, stride=2, output_padding=1, groups=2, weight_hook=(cs.WeightNorm(), hook)),
            cs.SRM(theta=0.5, surrogate=cs.surrogates.MultiGaussian(0.2, 5.0)),
            cs.Delay((11, 7, 6), dt=1.0, max_delay=3.0),
            cs.Unpool(2, gain=2.0),
            cs.FilterBank(2, 5),
            cs.SRM(theta=0.5),
            cs.Shift(2.0, dt=1.0),
            cs.Decimate(2, how="max"),
            cs.Average(3),
            potentials="float16",
        )
    )


def neurons():
    """Flat layers in evaluation mode, with branches, a layer at two places, shared and frozen tensors, and methods."""
    shared, lif = cs.Dense(4, 4), cs.LIF(tau=np.array([2.0, 3.0, 4.0, 5.0]), theta=0.3, reset="subtract")
    tied, small = cs.Dense(4, 4, bias=True), cs.SRM(theta=0.1)
    net = cs.Sequential(
        cs.Network("4-4r-4", cs.CUBA(tau_i=3.0, theta=0.3, trained=True)),
        cs.BatchNorm(4, scale="power", trained=True, mean_hook=partial(cs.quantize, step=0.5)),
        cs.KWinners(3),
        lif,
        cs.Parallel(shared, cs.Sequential(shared, SRM, cs.Dropout(0.5)), join="concatenate"),
        cs.Dense(8, 4, weight_hook=cs.WeightNorm()),
        cs.AdaptiveLIF(tau_i=2.0, theta=0.3, trained=True, bounds=(1.0, 50.0)),
        tied,
        cs.Recurrent(cs.Dense(4, 4), cs.LIF(tau=4.0, theta=0.5), delay=2.0),
        cs.Dense(4, 4),
        cs.ResonateAndFire(theta=0.3, reset=None),
        cs.Dense(4, 4),
        cs.Loihi(vth_mant=4),
        cs.Dense(4, 4),
        cs.SampledSRM([0.0, 1.0, 0.5], [0.0, -2.0], theta=1.0),
        cs.TemporalFilter(SRM),
        cs.SigmaDelta(theta=0.1, activation=None),
        small.psp,
        small.spike,
        partial(functions.shift, delay=1.0),
        cs.Affine(4, 2, tau=[3.0, 4.0], trained=True, bias=True),
        cs.tanh,
    )
    net[9].weight = net[11].weight = tied.weight
    filled(net)
    net[1].var.data[...] = 2.0
    net[13].weight.requires_grad = False
    net.train(False)
    return net


def own():
    net = cs.Sequential(
        Gain(4, start=2.0),
        Block(4),
        Fast(theta=0.5, boost=3.0),
        Renamed(4),
        Doubled(4, 4, weight_hook=(twice, partial(cs.quantize, step=0.5))),
        LIF(tau=2.5),
        partial(leak, rate=0.25),
    )
    net[0].mean[:], net[0].more[1]["deep"][0][:] = (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0)
    net[1].others[0].training = False
    return filled(net)


@pytest.mark.parametrize(("make", "shape"), [(layers, (7, 8, 2)), (neurons, (4,)), (own, (4,))])
@pytest.mark.parametrize("written", [False, True])
def test_files_of_version_0_2_and_of_this_one(make, shape, written, tmp_path):
    net, path = make(), FILES / f"network_{make.__name__}.npz"
    if written:
        path = tmp_path / "net.npz"
        cs.save(net, path)
    other = cs.load(path, classes=OWN)
    assert other.potentials == net.potentials
    x = np.arange(30 * 2 * np.prod(shape)).reshape(30, 2, *shape) * 7 % 5 < 2
    assert [type(stage) for stage in other] == [type(stage) for stage in net]
    names, other_names = net.named_parameters(), other.named_parameters()
    for (name, p), (other_name, q) in zip(names.items(), other_names.items(), strict=True):
        assert (name, type(p), p.requires_grad) == (other_name, type(q), q.requires_grad)
        np.testing.assert_array_equal(p.data, q.data)
    expected, found = net(x).numpy(), other(x).numpy()
    assert expected.any()
    np.testing.assert_array_equal(found, expected)
    flags = ([layer.training for layer in each.layers_within()] for each in (net, other))
    assert next(flags) == next(flags)
