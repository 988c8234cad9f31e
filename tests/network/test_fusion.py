"""The plan of a forward pass: which stages run as one operation, and that a network computes the same either way."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import Tensor, potential_format
from cuslayer.network.graph import FUSIONS, plan
from cuslayer.network.network import graph_of

SRM, EXACT = cs.SRM(), cs.SRM(gradient="exact")
NEURON = cs.SRM(tau_sr=4.0)


class OwnConv(cs.Conv):
    def __call__(self, x):
        return super().__call__(x) * 0.5


class SameConv(cs.Conv):
    """Computes as its parent does."""


class OwnPool(cs.SumPool):
    def __call__(self, x):
        return super().__call__(x) * 2.0


class OwnNeuron(cs.SRM):
    def __call__(self, x):
        return super().__call__(x * 2.0)


def conv(kind=cs.Conv):
    return kind(1, 2, 3, padding=1)


@pytest.mark.parametrize(
    ("stages", "sizes"),
    [
        ([conv(), SRM, cs.SumPool(2, gain=11.0), SRM, cs.Dense(8, 2), SRM], [4, 2]),
        ([conv(), SRM, cs.SumPool(2, gain=11.0), EXACT], [2, 2]),
        ([conv(), EXACT, cs.SumPool(2, gain=11.0), EXACT], [4]),
        ([conv(), SRM, cs.Conv(2, 1, 3), SRM], [2, 2]),
        ([conv(), cs.SumPool(2, gain=11.0), SRM], [1, 2]),
        ([conv(), SRM, cs.SumPool(2, gain=11.0)], [2, 1]),
        ([conv()], [1]),
        ([cs.Dense(8, 2)], [1]),
        ([conv(SameConv), SRM], [2]),
        ([conv(OwnConv), SRM, cs.SumPool(2, gain=11.0), SRM], [1, 1, 2]),
        ([conv(), SRM, OwnPool(2, gain=11.0), SRM], [2, 1, 1]),
        ([conv(), OwnNeuron(), cs.SumPool(2, gain=11.0), SRM], [1, 1, 2]),
        ([conv(), SRM, cs.SumPool(2, gain=11.0), OwnNeuron()], [2, 1, 1]),
        ([cs.Dense(8, 2), cs.Loihi()], [1, 1]),
        ([SRM, cs.Dense(8, 2), cs.Dropout(0.5), SRM], [1, 1, 1, 1]),
    ],
)
def test_the_plan(stages, sizes):
    steps = plan(graph_of(cs.Sequential(*stages)))
    assert [len(step.stages) for step in steps] == sizes
    assert [stage for step in steps for stage in step.stages] == stages
    assert [step.start for step in steps] == np.cumsum([0, *sizes[:-1]]).tolist()
    assert all((step.fusion in FUSIONS) == (len(step.stages) > 1) for step in steps)
    for step in steps:
        parts = step.parts()
        assert [part.start for part in parts] == [*range(step.start, step.start + len(step.stages))]
        assert [part.stages for part in parts] == [(stage,) for stage in step.stages]
        assert not any(part.fusion for part in parts)


@pytest.mark.parametrize(
    "kinds",
    [
        (cs.Conv, cs.SumPool, SRM),
        (OwnConv, cs.SumPool, SRM),
        (cs.Conv, OwnPool, OwnNeuron()),
        (SameConv, cs.SumPool, EXACT),
    ],
)
def test_a_network_computes_what_its_stages_do(kinds):
    layer, pool, neuron = kinds
    cs.seed(5)
    net = cs.Sequential(conv(layer), neuron, pool(2, gain=11.0), SRM, cs.Dense(8, 2), neuron)
    for synapse in (net[0], net[4]):
        synapse.weight.data = (8 * np.abs(synapse.weight.data) / np.abs(synapse.weight.data).max()).astype(np.float32)
    x = np.random.default_rng(0).random((40, 2, 4, 4, 1)) < 0.4
    s = net(x)
    y = Tensor(x)
    for stage in net.layers:
        y = stage(y)
    assert s.data.any()
    np.testing.assert_array_equal(s.data, y.data)
    gradients = []
    for out in (s, y):
        out.backward(np.ones(out.shape, np.float32))
        gradients.append([p.grad for p in net.parameters()])
        for p in net.parameters():
            p.grad = None
    for one, other in zip(*gradients, strict=True):
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def run(net, x, fused, form):
    """Return spikes and gradients of a network, or of its layers called one by one."""
    for p in net.parameters():
        p.grad = None
    t = cs.Tensor(x, requires_grad=True)
    if fused:
        out = net(t)
    else:
        out = t
        with potential_format(form):
            for layer in net.layers:
                out = layer(out)
    out.backward(np.random.default_rng(5).standard_normal(out.shape).astype(np.float32))
    return [out.data, t.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize(
    ("neuron", "form"),
    [(NEURON, "full"), (NEURON.with_gradient("exact"), "float16"), (cs.SRM(tau_sr=2.0, tau_ref=3.0, dt=0.5), "full")],
    ids=["slayer", "exact", "dt"],
)
@pytest.mark.parametrize(
    "notation",
    [
        "40-70-9",
        "12x12x2-5c3-2a-6c3-7",
        "13x11x2-4c5-3a-5",
        "9x10x1-3c4-4a-3c3-5",
        "8x40x2-30c3-2a-4",
        "7x7x2-3c3v-5a-6",
    ],
)
def test_fused_and_unfused_networks_have_the_same_bits(notation, neuron, form):
    cs.seed(1)
    net = cs.Network(notation, neuron, potentials=form)
    if notation == "40-70-9":
        net[0].weight.data *= 6  # the default is silent at this size
    x = np.random.default_rng(0).random((70, 3, *net.input_shape)) < 0.1
    fused, apart = run(net, x, True, form), run(net, x, False, form)
    assert fused[0].any()
    assert fused[0].tobytes() == apart[0].tobytes()
    for one, other in zip(fused[1:], apart[1:], strict=True):
        if notation == "40-70-9":
            # Apart, the gradient between its layers is a product of BLAS, which adds in an order of its own.
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())
        else:
            assert one.tobytes() == other.tobytes()
    with cs.no_grad():
        assert net(x).data.tobytes() == fused[0].tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_pooling_windows_of_any_height_have_the_same_bits(rows):
    """A window of 3 or 5 rows does not divide a convolution's block: the weight gradient is computed apart."""
    cs.seed(1)
    pool = cs.SumPool((rows, 2), gain=11.0)
    net = cs.Sequential(cs.Conv(2, 4, 3, padding=1), NEURON, pool, cs.SRM(tau_sr=4.0, theta=8.0))
    x = np.random.default_rng(0).random((70, 2, 11, 30, 2)) < 0.1
    fused, apart = run(net, x, True, "full"), run(net, x, False, "full")
    assert fused[2].any()
    assert [g.tobytes() for g in fused] == [g.tobytes() for g in apart]
