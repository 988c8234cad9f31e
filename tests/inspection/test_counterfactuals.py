"""Tests of sums over a recording, of runs without a spike, an input or a weight, and of the smallest change."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import generator_state, load_generator_state
from cuslayer.inspection import smallest_change
from tests.support.kinds import Quadratic
from tests.support.refused import refused

pytestmark = pytest.mark.all


def frames(neuron=None):
    """Return a network of two layers of frames, one spike of its last layer, and its input."""
    cs.seed(0)
    net = cs.Network("6x6x2-3c3-5", neuron or cs.SRM(tau_sr=4.0))
    x = np.random.default_rng(2).random((50, 2, 6, 6, 2)) < 0.15
    time, neuron_number = np.argwhere(net(x).data[:, 1])[-1].tolist()
    return net, x, cs.explain(net, x, 3, neuron_number, time, sample=1)


def recorded(net, x, layer=-1):
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    return seen[layer % len(net)]


# Sums.


def test_a_total_is_the_sum_of_the_explanations_of_all_spikes():
    net, x, why = frames()
    total = why.total(depth=1)
    fired = recorded(net, x).spikes[:, 1, why.index[0]]
    each = [cs.explain(net, x, 3, why.index, time, sample=1) for time in np.flatnonzero(fired).tolist()]
    assert total.times.tolist() == [one.time for one in each]
    np.testing.assert_allclose(total.contributions, sum(one.contributions for one in each), rtol=1e-4, atol=1e-4)
    for name in ("potential", "refractory"):
        assert getattr(total, name) == pytest.approx(sum(getattr(one, name) for one in each), rel=1e-4)
    assert total.headline().endswith(f"sample 1: the sum of u over {len(each)} spikes")


@pytest.mark.parametrize("neuron", [cs.LIF(theta=0.5), cs.SRM(tau_sr=4.0), Quadratic(theta=0.8)])
def test_a_total_reaches_the_input_and_stays_complete(neuron):
    _, x, why = frames(neuron=neuron)
    total = why.total()
    assert [source.layer for source in total.sources] == ["input"]
    assert total.contributions.shape == (6, 6, 2)
    assert all(x[(spike.time, 1, *spike.sender)] for spike in total.spikes)
    assert abs(total.left) <= 1e-4 * total.size
    assert total.potential == why.total(depth=1).potential
    image = total.plot_map().get_images()[0]
    assert (image.get_array() == total.contributions.sum(axis=2)).all()
    assert total.plot().get_yticklabels()[-1].get_text() == "sum of u"


def test_a_total_over_steps():
    net, x, why = frames()
    assert why.total("steps").potential == pytest.approx(recorded(net, x).potential[:, 1, why.index[0]].sum(), rel=1e-5)
    refused("total: over must be", lambda: why.total("time"))
    refused("total: depth must be at least 1", lambda: why.total(depth=0))


def test_shares_of_hidden_spikes_are_divided_in_proportion():
    """By hand: a hidden neuron fires at u = 1.5, of which one input is 2 and another -0.5."""
    net = cs.Sequential(cs.Dense(2, 1), cs.LIF(), cs.Dense(1, 1), cs.LIF())
    net[0].weight.data[:] = [[2.0], [-0.5]]
    net[2].weight.data[:] = 3.0
    total = cs.explain(net, np.ones((1, 1, 2), bool), 3, 0, 0).total()
    assert total.contributions == pytest.approx([4.0, -1.0])


# Runs without something.


def test_without_spikes_and_inputs_is_the_run_of_a_changed_input():
    net, x, _ = frames()
    time, *index = np.argwhere(recorded(net, x, 1).spikes[:, 1])[-1].tolist()
    why = cs.explain(net, x, 1, tuple(index), time, sample=1)
    left_out = [*why.spikes[:2], (why.spikes[2].time, why.spikes[2].sender)]
    pixel = why.spikes[3].sender
    found = why.without(spikes=left_out, inputs=[pixel])
    changed = x.copy()
    for when, sender, *_ in left_out:
        changed[(when, 1, *sender)] = False
    without_spikes = recorded(net, changed.copy(), 1).potential[(time, 1, *index)]
    changed[(slice(None), 1, *pixel)] = False
    seen = recorded(net, changed, 1)
    assert found.potential == seen.potential[(time, 1, *index)]
    assert found.fired == seen.spikes[(time, 1, *index)]
    assert found.times.tolist() == np.flatnonzero(seen.spikes[(slice(None), 1, *index)]).tolist()
    assert found.difference == pytest.approx(found.potential - why.potential)
    assert time in found.times_before
    assert "without 3 spikes and 1 input" in repr(found)
    # One question does not change the answer to the next.
    assert why.without(spikes=left_out).potential == without_spikes != found.potential


def test_without_spikes_of_a_hidden_layer():
    net, x, why = frames()
    spike = why.spikes[0]
    hidden = recorded(net, x, 1).spikes.copy()
    hidden[(spike.time, 1, *spike.sender)] = False
    behind = cs.Sequential(*net.layers[2:])
    seen = recorded(behind, np.array(hidden))
    assert why.without(spikes=[spike]).potential == seen.potential[(why.time, 1, *why.index)]


def test_without_weights_is_the_run_of_a_changed_network():
    net, x, why = frames()
    weights = [(5, *why.index), (7, *why.index)]
    changed = copy.deepcopy(net)
    for index in weights:
        changed[2].weight.data[index] = 0
    found = why.without(weights=weights)
    assert found.potential == recorded(changed, x).potential[(why.time, 1, *why.index)] != why.potential
    assert why.without(weights=weights[:1]).potential != found.potential


def test_without_in_training_has_the_draws_and_the_batch_of_the_next_call():
    cs.seed(1)
    net = cs.Sequential(cs.Dense(8, 6), cs.BatchNorm(6, height=8.0), cs.Dropout(0.3), cs.SRM(tau_sr=4.0))
    x = np.random.default_rng(2).random((40, 3, 8)) < 0.3
    before = net.state()
    drawn = generator_state()
    why = cs.explain(net, x, 3, 2, 30, sample=1)
    cs.seed(5)
    found = why.without(inputs=[0])
    load_generator_state(drawn)
    assert all((array == before[name]).all() for name, array in net.state().items())
    changed = x.copy()
    changed[:, 1, 0] = False
    assert found.potential == recorded(net, changed).potential[30, 1, 2]


def test_without_a_stateful_neuron_begins_where_the_last_call_ended():
    net = cs.Sequential(cs.Dense(4, 2, weight_scale=1.0), cs.LIF(stateful=True))
    x = np.random.default_rng(0).random((10, 1, 4)) < 0.5
    net(x)
    found = cs.explain(net, x, 1, 0, 3).without(inputs=[1])
    changed = x.copy()
    changed[..., 1] = False
    assert found.potential == recorded(net, changed).potential[3, 0, 0]


def test_what_without_refuses():
    net, _, why = frames()
    empty = next(place for place in np.argwhere(np.ones((6, 6, 3))).tolist() if (0, tuple(place)) not in why.spikes)
    refused("without: spikes, inputs or weights must name what to leave out", lambda: why.without())
    refused("without: spikes must be of the source", lambda: why.without(spikes=[(0, tuple(empty))]))
    refused("without: spikes must be a sequence", lambda: why.without(spikes=3))
    refused("without: source must be under 1", lambda: why.without(inputs=[0], source=1))
    refused("without: the index of an input 108 lies outside", lambda: why.without(inputs=[108]))
    population = cs.Recurrent(cs.Dense(4, 4, weight_scale=9.0), cs.LIF())
    net = cs.Sequential(cs.Dense(5, 4, weight_scale=9.0), population)
    why = cs.explain(net, np.ones((9, 1, 5), bool), 1, 0, 8)
    refused("without: source must not be the recurrent input", lambda: why.without(inputs=[0], source=1))
    joined = cs.explain(cs.Sequential(cs.LIF()), np.ones((3, 1, 2), np.float32), 0, 0, 1)
    refused("without: weights must be of the neurons' layer", lambda: joined.without(weights=[(0, 0)]))


# The smallest change.


@pytest.mark.parametrize("neuron", [cs.SRM(tau_sr=4.0), cs.LIF()])
def test_the_smallest_change_makes_the_answer_right_and_has_no_edit_too_many(neuron):
    cs.seed(0)
    net = cs.Network("8x8x2-20-6", neuron)
    x = np.random.default_rng(2).random((60, 2, 8, 8, 2)) < 0.1
    counts = net(x).data[:, 1].sum(axis=0)
    label = int(np.argsort(-counts, kind="stable")[1])
    change = smallest_change(net, x, label, sample=1)
    assert change.answer == counts.argmax() != label
    assert cs.classify(net(change.x[:, None])).tolist() == [label]
    assert len(change.edits) == (change.x != x[:, 1]).sum() > 0
    for edit in change.edits:
        place = (edit.time, *edit.sender)
        assert edit.added == change.x[place] != x[(edit.time, 1, *edit.sender)]
        less = change.x.copy()
        less[place] ^= True
        assert cs.classify(net(less[:, None])).tolist() != [label]
    assert set(change.added) | set(change.removed) == set(change.edits)


def test_the_smallest_change_of_a_right_answer_is_none():
    net = cs.Network("8-4", cs.SRM(tau_sr=4.0))
    x = np.random.default_rng(2).random((40, 1, 8)) < 0.3
    change = smallest_change(net, x, int(cs.classify(net(x))[0]))
    assert change.edits == ()
    assert (change.x == x[:, 0]).all()


def test_the_smallest_change_stays_within_a_recording():
    cs.seed(0)
    net = cs.Sequential(cs.Dense(6, 2, weight_scale=4.0), cs.LIF())
    x = np.random.default_rng(2).random((30, 1, 6)) < 0.3
    x[20:] = False
    padded = cs.Tensor(x, lengths=np.array([20]))
    change = smallest_change(net, padded, 1 - int(cs.classify(net(padded))[0]))
    assert change.x.shape == (20, 6)


def test_what_the_smallest_change_refuses():
    net = cs.Network("8-4", cs.SRM())
    x = np.ones((9, 1, 8), bool)
    refused("smallest_change: x must be spikes", lambda: smallest_change(net, x.astype(float), 0))
    refused("smallest_change: label must be under 4 classes", lambda: smallest_change(net, x, 4))
    frames_out = cs.Network("6x6x2-3c3", cs.SRM())
    refused(
        "smallest_change: net must have an output (T, N, classes)",
        lambda: smallest_change(frames_out, np.ones((9, 1, 6, 6, 2), bool), 0),
    )
    net[0].weight.data[:] = 0
    refused("smallest_change: net must answer 1 for some change of x", lambda: smallest_change(net, x, 1))
