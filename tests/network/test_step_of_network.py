"""A network gives its step to neurons that have none of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import Decimate
from cuslayer.network import Word
from tests.support.refused import refuses

KINDS: list[Callable[..., Any]] = [cs.LIF, cs.SRM, cs.Loihi, cs.neurons.SampledSRM]
X = np.random.default_rng(0).random((20, 2, 4)) < 0.5


def same(net: Any, other: Any) -> None:
    assert net.dt == other.dt
    for name, array in other.state().items():
        np.testing.assert_array_equal(net.state()[name], array)
    np.testing.assert_array_equal(net(X).data, other(X).data)


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_take_the_step_of_their_network(kind: Any, tmp_path: Path) -> None:
    cs.seed(0)
    net = cs.Network("4-5-3", kind(), dt=0.5)
    cs.seed(0)
    same(net, cs.Network("4-5-3", kind(dt=0.5)))
    lif = kind()
    cs.seed(0)
    net = cs.Sequential(cs.Dense(4, 5), lif, cs.Sequential(cs.Dense(5, 3), lif), dt=0.5)
    cs.seed(0)
    shared = kind(dt=0.5)
    same(net, cs.Sequential(cs.Dense(4, 5), shared, cs.Sequential(cs.Dense(5, 3), shared)))
    assert net[1] is net[2, 1]
    assert lif.dt == 1.0
    cs.save(net, tmp_path / "net.npz")
    same(cs.load(tmp_path / "net.npz"), net)


def test_recurrent_neurons_delays_and_read_outs_take_the_step_too() -> None:
    def network(own: dict[str, float], **of_network: Any) -> Any:
        cs.seed(0)
        loop = cs.Recurrent(cs.Dense(4, 4), cs.LIF(**own))
        return cs.Sequential(cs.Dense(4, 4), loop, cs.Delay(4, **own), cs.ReadOut(4, 2, **own), **of_network)

    net = network({}, dt=0.5)
    wanted = network({"dt": 0.5})
    assert [getattr(stage, "dt", None) for stage in net] == [None, 0.5, 0.5, 0.5]
    assert (net[1].delay, net[1].steps) == (0.5, 1)
    np.testing.assert_allclose(net[1].layer.weight.data, wanted[1].layer.weight.data, rtol=1e-5, atol=1e-7)


def test_default_bounds_of_trained_constants_follow_the_step() -> None:
    def tau(neuron: cs.LIF) -> Any:
        return cs.Sequential(cs.Dense(4, 3), neuron, dt=0.5)[1].tau

    assert (tau(cs.LIF(trained=True)).least, tau(cs.LIF(trained=True)).most) == (0.125, 5000.0)
    assert tau(cs.LIF(trained=True, bounds=(1.0, 50.0))).least == 1.0
    shared = cs.Bounded(np.float32(20.0), least=2.0, most=30.0)
    assert tau(cs.LIF(shared, trained=True)) is shared


def test_neurons_of_a_word_take_the_step_of_their_network() -> None:
    net = cs.Network([Word("4"), Word("3", neuron=cs.LIF()), Word("2")], cs.SRM(dt=0.5))
    assert [stage.dt for stage in net.layers[1::2]] == [0.5, 0.5]


def test_neurons_with_a_step_of_their_own_keep_it() -> None:
    net = cs.Sequential(cs.Dense(4, 3), cs.LIF(), Decimate(2), cs.Dense(3, 2), cs.LIF(dt=1.0), dt=0.5)
    assert (net[1].dt, net[4].dt, net.dt) == (0.5, 1.0, 1.0)
    assert cs.Sequential(cs.Dense(4, 3), dt=0.5).dt is None


@pytest.mark.parametrize(
    ("stages", "rule"),
    [
        ([cs.LIF(dt=1.0)], "dt must be that of the neurons of layer 0"),
        ([cs.LIF(), Decimate(2), cs.LIF()], "layer 2 needs a dt of its own"),
    ],
)
def test_another_step_is_refused(stages: Any, rule: str) -> None:
    with refuses(f"Sequential: {rule}"):
        cs.Sequential(*stages, dt=0.5)
