"""Synaptic operations: the synapses of each input, a penalty on their operations."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import synaptic_operations
from cuslayer.network.synaptic import fan_out
from tests.support.refused import refuses

pytestmark = pytest.mark.all

RNG = np.random.default_rng(43)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (cs.Dense((3, 2, 2), 5), (3, 2, 2)),
        (cs.ReadOut(4, 3, bias=True), (4,)),
        (cs.Conv(2, 6, 3, padding=1, stride=2), (5, 6, 2)),
        (cs.Conv(4, 6, 2, groups=2, bias=True), (4, 4, 4)),
        (cs.Dense(4, 3, delays=cs.SynapticDelays(5.0)), (4,)),
        (cs.Conv(2, 3, 2, delays=cs.SynapticDelays(5.0, dt=0.5)), (3, 4, 2)),
        (cs.ConvTranspose(2, 3, 3, stride=2), (3, 4, 2)),
        (cs.SumPool(2, gain=11.0), (5, 4, 3)),
        (cs.layers.Unpool(2, gain=11.0), (3, 4, 3)),
        (cs.AvgPool((2, 3), stride=2, padding=1), (5, 4, 3)),
        (cs.GlobalAvgPool(), (5, 4, 3)),
    ],
)
def test_the_synapses_are_counted(layer, shape):
    """Each weight is 1, and the outputs of an input of one spike are summed."""
    found = fan_out(layer, shape)
    assert found is not None
    weight = {cs.AvgPool: 1 / 6, cs.GlobalAvgPool: 1 / 20}.get(type(layer), 1.0)
    if isinstance(layer, (cs.SumPool, cs.layers.Unpool)):
        layer.gain = 1.0
    elif weight == 1.0:
        layer.weight.data[...], layer.delays = 1.0, None
        if layer.bias is not None:
            layer.bias.data[...] = 0.0
    for index in np.ndindex(*shape):
        x = np.zeros((1, 1, *shape), bool)
        x[(0, 0, *index)] = True
        assert weight * found[index] == pytest.approx(layer(x).data.sum())


def test_gradients():
    weights = RNG.random((2, 3))
    assert cs.gradcheck(lambda s: synaptic_operations(s, fan_out=weights), RNG.random((4, 2, 2, 3))) < 1e-6
    s = RNG.random((9, 4, 2, 3)) < 0.3
    assert synaptic_operations(s, fan_out=weights).item() == pytest.approx((s * weights).sum(), rel=1e-6)
    with refuses("synaptic_operations: fan_out has shape (2, 3), neurons have shape (3,)"):
        synaptic_operations(s[:, :, 0], fan_out=weights)


def network():
    cs.seed(2)
    return cs.Network("8x8x2-4c3-2a-6-3", cs.SRM())


def test_the_penalty_of_its_formula():
    net, x, labels = network(), RNG.random((20, 4, 8, 8, 2)) < 0.3, [0, 1, 2, 0]
    plain = cs.SpikeCountLoss(cs.SRM(), true=6, false=1)
    y, total = cs.Tensor(x), 0.0
    for number, stage in enumerate(net):
        synapses = fan_out(stage, y.shape[2:])
        if synapses is not None and number:  # the input has no gradient
            total += float((y.data * synapses).sum())
        y = stage(y)
    for allowed in (0.0, total / 8, 2 * total):
        loss = cs.network.SparsityLoss(plain, weight=1e-3, allowed=allowed)
        with loss.observing(net):
            out = net(x)
        expected = plain(out, labels).item() + 1e-3 * max(0.0, total - 4 * allowed)
        assert loss(out, labels).item() == pytest.approx(expected, rel=1e-5)
        assert loss(out, labels).item() == pytest.approx(plain(out, labels).item())  # a pass counts once
    np.testing.assert_array_equal(out.data, y.data)


def test_spikes_that_come_back_have_the_penalty():
    cs.seed(3)
    back = cs.Recurrent(cs.Dense(8, 8), cs.LIF(tau=5.0, theta=0.3), delay=2.0)
    net, x = cs.Sequential(cs.Dense(6, 8), back, cs.Dense(8, 3), cs.SRM()), RNG.random((20, 4, 6)) < 0.3
    plain, labels = cs.SpikeCountLoss(cs.SRM(), true=6, false=1), [0, 1, 2, 0]
    spikes = back(net[0](x)).data
    total = 8 * spikes[:-2].sum() + 3 * spikes.sum()
    loss = cs.network.SparsityLoss(plain, weight=1e-3)
    with loss.observing(net):
        out = net(x)
    expected = plain(out, labels).item() + 1e-3 * total
    assert spikes.any()
    assert loss(out, labels).item() == pytest.approx(expected, rel=1e-5)
    with loss.observing(net):  # a padded recording is alone
        out = net(cs.Tensor(x[:, :1], lengths=[11]))
    total = 8 * spikes[:9, 0].sum() + 3 * spikes[:11, 0].sum()
    assert loss(out, [0]).item() - plain(out, [0]).item() == pytest.approx(1e-3 * total, rel=1e-5)


def test_it_is_the_loss_otherwise():
    inner = cs.SpikeCountLoss(cs.SRM(), true=6, false=1)
    loss = cs.network.SparsityLoss(inner, weight=1.0)
    assert loss.neuron is inner.neuron
    assert loss.desired_rate([0], 3, 100) == inner.desired_rate([0], 3, 100)
    read = cs.network.SparsityLoss(cs.CrossEntropyLoss("max"), weight=1.0)
    assert read.neuron is None
    assert read.scored(np.zeros((5, 2, 3)), [0, 1])[0].shape == (1, 2, 3)
    assert read.send_labels([0, 1], np.zeros((5, 2, 3))) == [0, 1]
    with refuses("SparsityLoss: loss must be a function of output and target"):
        cs.network.SparsityLoss(3, weight=1.0)
    with refuses("SparsityLoss: weight must not be negative"):
        cs.network.SparsityLoss(inner, weight=-1.0)
    with refuses("SparsityLoss: allowed must not be negative"):
        cs.network.SparsityLoss(inner, weight=1.0, allowed=-1.0)


def penalty(net, x):
    """Return the operations of a sample that are penalized, and their gradients."""
    loss = cs.network.SparsityLoss(lambda out, target: cs.Tensor(np.float32(0)), weight=1.0)
    with loss.observing(net):
        out = net(x)
    value = loss(out, None)
    value.backward()
    gradients = [p.grad for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    return value.item() / x.shape[1], gradients


HIDDEN = {
    "spikes": lambda: cs.SRM(theta=2.0),
    "sigma-delta": lambda: cs.neurons.SigmaDelta(theta=0.5),
    "graded": lambda: cs.LIF(tau=5.0, theta=2.0, graded=True),
}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("between", ["nothing", "dropout", "dropout, delay", "join", "later join", "average"])
def test_what_is_penalized_is_what_ops_counts(hidden, between):
    """Dropout, which an evaluation does not have, changes neither the penalty nor its gradient."""

    def stages(p):
        dropout, identity = cs.Dropout(p), cs.Sequential()
        return {
            "nothing": [],
            "dropout": [dropout],
            "dropout, delay": [dropout, cs.layers.Shift(2.0)],
            "join": [cs.Parallel(cs.Sequential(dropout, cs.layers.Shift(1.0)), identity)],
            "later join": [cs.Parallel(identity, cs.Sequential(dropout, cs.layers.Shift(1.0)))],
            "average": [dropout, cs.layers.Average(4)],
        }[between]

    rng, found = np.random.default_rng(12), list[list[np.ndarray]]()
    x = rng.random((30, 4, 6)) < 0.3
    for p in (0.0, 0.7):
        cs.seed(8)
        weights = cs.Dense(6, 8), cs.Dense(4 if between == "average" else 8, 3)
        net = cs.Sequential(weights[0], HIDDEN[hidden](), *stages(p), weights[1], cs.SRM())
        operations, gradients = penalty(net, x)
        rows = cs.inspection.count_operations(net, x).layers[1:]
        counted = sum(row.accumulates + row.macs for row in rows)
        assert 0 < counted < sum(row.dense for row in rows)
        assert operations == pytest.approx(counted, rel=1e-6)
        assert gradients[1] is None
        assert np.any(gradients[0])
        found.append(gradients)
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", [cs.AvgPool(2), cs.MaxPool(2), cs.GlobalAvgPool()], ids=repr)
def test_pooling_after_dropout(pool):
    """The sum of a mean counts as operations, and Dropout before it changes nothing."""
    x, penalties = np.random.default_rng(12).random((30, 4, 4, 5, 2)) < 0.3, []
    for p in (0.0, 0.7):
        cs.seed(8)
        dense = cs.Dense(pool.output_shape((4, 5, 4)), 3)
        net = cs.Sequential(cs.Conv(2, 4, 1), cs.SRM(theta=2.0), cs.Dropout(p), pool, dense, cs.SRM())
        operations, gradients = penalty(net, x)
        rows = cs.inspection.count_operations(net, x).layers[1:]
        assert len(rows) == (1 if isinstance(pool, cs.MaxPool) else 2)
        assert operations == pytest.approx(sum(row.accumulates + row.macs for row in rows), rel=1e-6)
        penalties.append(gradients[0])
    assert penalties[0].any()
    np.testing.assert_allclose(penalties[1], penalties[0], rtol=1e-5, atol=1e-5)


def test_the_gradient_of_numbers_makes_them_smaller():
    """It is that of the sum of their sizes, the smooth twin of their number."""
    cs.seed(9)
    dense, neurons = cs.Dense(6, 8), cs.neurons.SigmaDelta(theta=0.5)
    x = RNG.random((30, 4, 6)) < 0.3
    _, (found, _) = penalty(cs.Sequential(dense, neurons, cs.Dense(8, 3), cs.SRM()), x)
    y = neurons(dense(x))
    (3 * abs(y)).sum().backward()
    assert (y.data < 0).any()
    np.testing.assert_allclose(found, dense.weight.grad, rtol=1e-5, atol=1e-5)
