"""The plan of a forward pass: which stages run as one operation, and that a network computes the same either way."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import Tensor
from cuslayer.network.graph import FUSIONS, observe, plan

pytestmark = pytest.mark.all

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
        ([conv(), cs.BatchNorm(2), SRM, cs.SumPool(2, gain=11.0)], [3, 1]),
        ([cs.Conv(1, 2, 3, bias=True), SRM, cs.SumPool(2, gain=11.0), SRM, cs.Dense(8, 2, bias=True), SRM], [4, 2]),
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
    steps = plan(cs.Sequential(*stages).graph)
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


def stage_by_stage(run, step, *inputs):
    """Run the stages of a step one by one."""
    for part in step.parts():
        inputs = (run(part, *inputs),)
    return inputs[0]


def with_bias(x):
    """Return layers with a bias that is not 0, of a frame x."""
    layers = [cs.Conv(1, 5, 3, padding=1, bias=True), SRM, cs.SumPool(2, gain=11.0), SRM, cs.Dense(20, 3, bias=True)]
    for layer in (layers[0], layers[4]):
        layer.weight.data *= 3
        layer.bias.data += np.linspace(-1, 3, layer.bias.size, dtype=np.float32)
    return cs.Sequential(*layers, SRM), x


def normalized(x, training=True, lengths=None, **options):
    """Return layers with batch normalization, of numbers."""
    norms = [cs.BatchNorm(count, height=8.0, **options) for count in (5, 3)]
    for norm in norms:
        norm.mean.data += 0.1
        if norm.offset is not None:
            norm.offset.data += 1
    net = cs.Sequential(cs.Conv(1, 5, 3, padding=1), norms[0], SRM, cs.Dense(80, 3), norms[1], cs.LIF())
    net.train(training)
    return net, Tensor(x * 1.0, lengths=lengths)


@pytest.mark.parametrize(
    "make",
    [
        with_bias,
        normalized,
        lambda x: normalized(x, training=False, scale="power", trained=True),
        lambda x: normalized(x, lengths=np.array([40, 7])),
        lambda x: normalized(x, mean_hook=lambda mean: mean * 0.5),
    ],
)
@pytest.mark.parametrize("activity", [0.02, 0.4])
def test_a_bias_and_a_normalization_within_a_pass_have_the_bits_of_separate_ones(make, activity):
    outcomes = []
    for apart in (False, True):
        cs.seed(5)
        net, x = make((np.random.default_rng(0).random((40, 2, 4, 4, 1)) < activity).astype(np.float32) > 0)
        if apart:
            with observe(net, stage_by_stage):
                y = net(x)
        else:
            y = net(x)
        y.backward(np.random.default_rng(1).standard_normal(y.shape).astype(np.float32))
        outcomes.append([y.data, *(p.grad for p in net.parameters() if p.requires_grad)])
    assert outcomes[0][0].any()
    assert all(np.abs(gradient).max() > 0 for gradient in outcomes[0][1:])
    for together, separate in zip(*outcomes, strict=True):
        assert together.tobytes() == separate.tobytes()
