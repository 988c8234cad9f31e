"""Parallel branches and nested networks: what they compute, their gradients, and errors."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.network.container import graph_of
from cuslayer.network.fusion import plan
from cuslayer.network.join import join

SRM, EXACT = cs.SRM(tau_sr=4.0), cs.SRM(tau_sr=4.0, gradient="exact")
FRAMES = (6, 5, 2)


def spikes(*shape, rate=0.3, steps=25, samples=2, seed=0):
    return np.random.default_rng(seed).random((steps, samples, *shape)) < rate


def conv(inputs, outputs, size=3, **options):
    return cs.Conv(inputs, outputs, size, padding=size // 2, **options)


def skip(neuron=SRM):
    """A skip connection around a convolution with neurons."""
    around = cs.Parallel(cs.Sequential(conv(2, 2), neuron), cs.Sequential())
    return cs.Sequential(conv(2, 2), neuron, around, conv(2, 3), neuron, cs.Dense((6, 5, 3), 4), neuron)


def kernels_of_two_sizes(neuron=SRM):
    branches = cs.Sequential(conv(2, 3, 5), neuron), cs.Sequential(conv(2, 2), neuron, cs.Pool(1, gain=11.0), neuron)
    return cs.Sequential(cs.Parallel(*branches, join="concatenate"), cs.Dense((6, 5, 5), 4), neuron)


def nested(neuron=SRM):
    inner = cs.Parallel(cs.Sequential(conv(2, 2), neuron), conv(2, 2, 1), join="concatenate")
    outer = cs.Parallel(cs.Sequential(inner, conv(4, 2)), cs.Sequential(), conv(2, 2, 5))
    return cs.Sequential(
        outer, neuron, cs.Sequential(cs.Dense((6, 5, 2), 6), neuron, cs.Sequential(cs.Dense(6, 4))), neuron
    )


def shared(neuron=SRM):
    layer = conv(2, 2)
    return cs.Sequential(
        layer, neuron, layer, neuron, cs.Parallel(layer, cs.Sequential(layer, neuron)), neuron, cs.Dense((6, 5, 2), 4)
    )


def first_and_last(neuron=SRM):
    first = cs.Parallel(cs.Sequential(conv(2, 2), neuron), cs.Sequential(conv(2, 2, 1), neuron))
    last = cs.Parallel(cs.Sequential(cs.Dense((6, 5, 2), 4), neuron), cs.Sequential(cs.Dense((6, 5, 2), 4), neuron))
    return cs.Sequential(first, conv(2, 2), neuron, last)


NETWORKS = {f.__name__: f for f in (skip, kernels_of_two_sizes, nested, shared, first_and_last)}


def by_hand(stage, x):
    """Run a network as plain calls, without its graph and its plan."""
    if isinstance(stage, cs.Sequential):
        for each in stage.layers:
            x = by_hand(each, x)
        return x
    if isinstance(stage, cs.Parallel):
        found = [by_hand(branch, x) for branch in stage.branches]
        if stage.join == "add":
            total = found[0] * 1.0
            for y in found[1:]:
                total = total + y
            return total
        arrays = [y.data for y in found]
        return join(*found, how="concatenate") if len(arrays) > 1 else found[0]
    return stage(x)


def run(net, x, call):
    for p in net.parameters():
        p.grad = None
    given = cs.Tensor(x, requires_grad=True)
    y = call(given)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(y.data.dtype if y.dtype != bool else np.float32)
    (y * cs.Tensor(weights)).sum().backward()
    return [y.data, given.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("neuron", [SRM, EXACT], ids=["slayer", "exact"])
def test_a_network_computes_what_its_stages_do(name, neuron):
    """Fused passes inside branches and nested networks give the bits of the single stages."""
    cs.seed(2)
    net, x = NETWORKS[name](neuron), spikes(*FRAMES)
    found, expected = run(net, x, net), run(net, x, lambda x: by_hand(net, x))
    assert found[0].any()
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        if b.dtype == bool or a is found[0]:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5 * abs(b).max())
    with cs.no_grad():
        np.testing.assert_array_equal(net(x).data, found[0])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("skip", [2, 2, 1, 2, 2]),
        ("kernels_of_two_sizes", [2, 4, 1, 2]),
        ("nested", [2, 1, 1, 1, 1, 1, 1, 2, 2]),
        ("shared", [2, 2, 1, 2, 1, 1, 1]),
        ("first_and_last", [2, 2, 1, 2, 2, 2, 1]),
    ],
)
def test_the_plan_of_a_graph(name, sizes):
    assert [len(step.stages) for step in plan(graph_of(NETWORKS[name]()))] == sizes
