"""Kinds of neurons that are written as a step: recorded, explained, streamed, saved and named."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.neurons.names import make_neuron, neuron_constants
from tests.neurons import test_adaptive_lif, test_leaky, test_resonate_and_fire
from tests.support import step_programs

RNG = np.random.default_rng(11)


def of_leaky(x, neuron):
    """Return the potential and the current of a program of the step; the current is None if there is none."""
    current, u, *_ = step_programs.leaky(x, *test_leaky.keeps(neuron), neuron.theta, neuron.reset)
    return u, current if isinstance(neuron, cs.CUBA) else None


def of_adaptive(x, neuron):
    u, _, current, *_ = step_programs.adaptive(x, test_adaptive_lif.keeps(neuron), neuron)
    return u, current


def of_resonate(x, neuron):
    return step_programs.resonate(x, test_resonate_and_fire.turned(neuron), neuron)[0].imag, None


# A program, the kind, its constants, and those of eight neurons that differ but for the time constant of a current.
KINDS = {
    "LIF": (of_leaky, cs.LIF, (6.0,), RNG.uniform(2, 9, (1, 8))),
    "CUBA": (of_leaky, cs.CUBA, (2.0, 6.0), (2.0, RNG.uniform(2, 9, 8))),
    "AdaptiveLIF": (
        of_adaptive,
        test_adaptive_lif.neuron_of,
        ((2.0, 6.0, 20.0, 3.0),),
        [(2.0, *RNG.uniform(2, 9, (3, 8)))],
    ),
    "ResonateAndFire": (of_resonate, cs.ResonateAndFire, (15.0, 30.0), RNG.uniform(10, 20, (2, 8))),
}
RESETS = {"LIF": test_leaky.RESETS, "CUBA": test_leaky.RESETS, "ResonateAndFire": test_resonate_and_fire.RESETS}
CASES = [(kind, reset, False) for kind, resets in RESETS.items() for reset in resets]
CASES += [("AdaptiveLIF", None, False), *((kind, None, True) for kind in KINDS)]


def network(neuron):
    cs.seed(2)
    return cs.Network("10-8-3", neuron), np.random.default_rng(0).random((40, 6, 10)) < 0.3


@pytest.mark.parametrize(("kind", "reset", "spread"), CASES)
def test_recorded_and_explained(kind, reset, spread):
    program, make, constants, several = KINDS[kind]
    options = {"reset": reset} if kind in RESETS else {}
    net, x = network(make(*constants, **options))
    net = cs.Sequential(net[0], make(*(several if spread else constants), **options), *net.layers[2:])
    with cs.record(net) as seen:
        out = net(x)
        out.backward(np.ones(out.shape, np.float32))
    u, current = program(net[0](x).data.astype(float), net[1])
    np.testing.assert_allclose(seen[1].potential.values, u, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(seen[1].surrogate.values, net[1].surrogate(seen[1].potential.values))
    assert seen[1].weighted_error.values.any()
    if current is not None:
        np.testing.assert_allclose(seen[1].current.values, current, rtol=1e-4, atol=1e-5)
    fired = np.argwhere(seen[1].spikes.values)[::40].tolist()
    assert fired
    for time, sample, neuron in fired:
        why = cs.explain(net, x, layer=1, neuron=neuron, time=time, sample=sample)
        assert why.exact
        assert why.fired
        assert sum(part.size for part in why.parts()) == pytest.approx(why.potential, abs=1e-4)
    assert cs.health(net, [(x, np.arange(6) % 3)]).layers


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_and_saved_and_named(kind, tmp_path):
    _, make, constants, _ = KINDS[kind]
    options = {"reset": RESETS[kind][-1]} if kind in RESETS else {}
    net, x = network(make(*constants, trained=True, bounds=(1.0, 50.0), surrogate="arctan", **options))
    for p in net[1].parameters():
        p.data *= np.float32(1.25)
    out = net(x).data
    assert out.any()
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:3]), stream(x[3:])]), out)
    cs.save(net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(again(x).data, out)
    assert again[1] is again[3]
    assert (again[1].parameters()[0].least, again[1].parameters()[0].most) == (1.0, 50.0)
    constants = neuron_constants(net[1])
    named = make_neuron("net: neuron.", constants, net[1].dt)
    assert neuron_constants(named) == constants
    assert repr(named) == repr(net[1])
    assert list(net.state())[:2] == ["0.0", "1.0"]
