"""Layers that learn by local rules while a stream runs, and in `Trainer`."""

from itertools import pairwise

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.plasticity import STDP, Learn
from tests.support.refused import refused, refuses

RULE = STDP(a_plus=0.05, a_minus=0.03, soft=1.0)
FRAME = (6, 5, 2)


def spikes(*shape, seed=0, steps=40, samples=2, share=0.3):
    return np.random.default_rng(seed).random((steps, samples, *shape)) < share


def drawn(net, *layers):
    """Return a network with positive weights in some layers."""
    rng = np.random.default_rng(1)
    for number in layers:
        net[number].weight = rng.random(net[number].weight.shape) * 0.9
    return net


def dense():
    return drawn(cs.Sequential(cs.Dense(FRAME, 5), cs.LIF(theta=5.0), cs.Dense(5, 3), cs.LIF()), 0, 2)


def winners():
    return drawn(cs.Sequential(cs.Dense(FRAME, 5), cs.layers.KWinners(2), cs.LIF(theta=5.0)), 0)


def conv():
    layer = cs.Conv(2, 3, 3, padding=1, stride=2, dilation=2)
    return drawn(cs.Sequential(layer, cs.LIF(theta=3.0), cs.SumPool(2, gain=3.0), cs.SRM()), 0)


@pytest.mark.parametrize("make", [dense, winners, conv])
@pytest.mark.parametrize("rule", [RULE, STDP(eligibility=30.0)], ids=["at once", "reward"])
def test_steps_and_chunks_have_the_same_bits(make, rule):
    nets, outputs, x = [make(), make(), make()], [], spikes(*FRAME)
    for net, sizes in zip(nets, ([40], [1] * 40, [7, 0, 30, 3]), strict=True):
        stream = net.stream(plasticity={0: rule})
        before = net[0].weight.data.copy()
        places = np.cumsum([0, *sizes])
        outputs.append(np.concatenate([stream(x[first:last]) for first, last in pairwise(places)]))
        if rule.eligibility:
            np.testing.assert_array_equal(net[0].weight.data, before)
            stream.reward([1.0, -0.5])
        assert np.abs(net[0].weight.data - before).max() > 0.01
    for net, output in zip(nets[1:], outputs[1:], strict=True):
        np.testing.assert_array_equal(output, outputs[0])
        np.testing.assert_array_equal(net[0].weight.data, nets[0][0].weight.data)
    assert outputs[0].any()


def test_the_weights_are_those_of_the_rule_and_change_the_spikes():
    net, fixed, x = winners(), winners(), spikes(*FRAME)
    before = net[0].weight.data.copy()
    output = net.stream(plasticity={net[0]: RULE})(x)
    np.testing.assert_array_equal(net[0].weight.data, RULE(x.reshape(40, 2, -1), output, before))
    assert not np.array_equal(output, fixed.stream()(x))


def test_a_convolution_learns_by_its_windows():
    net, x = conv(), spikes(*FRAME)
    before = net[0].weight.data.copy()
    with cs.record(net, layers=1) as seen:
        net(x)
    rule = STDP(a_plus=1e-6, a_minus=2e-6, bounds=(-9.0, 9.0))  # so small that no spike changes
    net[0].weight = before.astype(np.float32)
    net.stream(plasticity={0: rule})(x)
    output = seen[1].spikes.values
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    change = np.zeros(before.shape)
    for r, c in np.ndindex(output.shape[2:4]):
        window = padded[:, :, 2 * r : 2 * r + 5 : 2, 2 * c : 2 * c + 5 : 2].reshape(40, 2, -1)
        change += rule(window, output[:, :, r, c], np.zeros((18, 3))).reshape(before.shape)
    np.testing.assert_allclose(net[0].weight.data - before, change, atol=1e-6)
    assert np.abs(change).max() > 1e-5


def loss_of(net):
    return cs.SpikeCountLoss(net[-1], true=5, false=0)


def test_in_a_trainer_a_rule_takes_the_place_of_the_gradient():
    net, twin, x = dense(), dense(), spikes(*FRAME)
    optimizer = cs.SGD(net.parameters(), lr=1e-4)
    trainer = cs.Trainer(net, loss_of(net), optimizer, calibrate=None, callbacks=[Learn({0: RULE})])
    batches = [(x, np.array([0, 1])), (~x, np.array([2, 0]))]
    trainer.train(batches)
    for batch, labels in batches:
        twin[0].weight.requires_grad = False
        twin.stream(plasticity={0: RULE})(batch)
        optimizer = cs.SGD(twin.parameters(), lr=1e-4)
        optimizer.zero_grad()
        loss_of(twin)(twin(batch), labels).backward()
        optimizer.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    assert trainer.optimizer.steps == 2


def test_a_network_of_rules_alone_needs_no_labels():
    net, x = winners(), spikes(*FRAME)
    before = net[0].weight.data.copy()

    def rate(output, target):
        return (output * 1.0).mean()

    optimizer = cs.SGD(net.parameters())
    trainer = cs.Trainer(net, rate, optimizer, score=rate, callbacks=[Learn({0: RULE})])
    stats = trainer.fit([(x, None)], epochs=2)
    assert len(stats.epochs) == 2
    assert trainer.optimizer.steps == 0
    twin = winners()
    for _ in range(2):
        twin.stream(plasticity={0: RULE})(x)
    np.testing.assert_array_equal(net[0].weight.data, twin[0].weight.data)
    assert not np.array_equal(net[0].weight.data, before)


def test_rewards_come_from_outputs_and_targets():
    net, x, seen = winners(), spikes(*FRAME), []
    before = net[0].weight.data.copy()

    def reward(output, target):
        seen.append((output.shape, target))
        return [0.0, 0.0]

    learn = Learn({0: STDP(eligibility=50.0)}, reward=reward)
    trainer = cs.Trainer(net, loss_of(net), cs.SGD(net.parameters()), callbacks=[learn])
    trainer.train([(x, np.array([0, 1]))])
    assert seen[0][0] == (40, 2, 5)
    np.testing.assert_array_equal(net[0].weight.data, before)
    refused("Learn: reward must be a function", lambda: Learn({0: RULE}, reward=1.0))
    refused("Learn: rules must be a mapping", lambda: Learn([RULE]))


def test_refusals():
    net, x = dense(), spikes(*FRAME)
    refused("stream: layer 2 must be Dense or Conv to learn", lambda: conv().stream(plasticity={2: RULE}))
    refused("stream: plasticity must name layers of the network", lambda: net.stream(plasticity={cs.Dense(3, 3): RULE}))
    refused("stream: plasticity must map layers to rules", lambda: net.stream(plasticity={0: 0.1}))
    refused("stream: reward needs a rule with an eligibility", lambda: net.stream(plasticity={0: RULE}).reward(1.0))
    hooked = cs.Sequential(cs.Dense(4, 3, weight_hook=lambda w: w * 1.0), cs.LIF())
    refused("stream: layer 0 must have no weight_hook", lambda: hooked.stream(plasticity={0: RULE}))
    alone = cs.Sequential(cs.Dense(4, 3), cs.Dense(3, 3), cs.LIF())
    alone[1].weight = np.ones((3, 3))
    with refuses("stream: the input of a layer that learns must be spikes"):
        alone.stream(plasticity={1: RULE})(spikes(4))
    last = cs.Sequential(cs.LIF(), cs.Dense(4, 3))
    refused("stream: layer 1 must have neurons after it", lambda: last.stream(plasticity={1: RULE}))
    waiting = net.stream(plasticity={0: STDP(eligibility=9.0)})
    waiting(x)
    refused("stream: reward must be a number or (2,)", lambda: waiting.reward(np.ones(3)))
