"""Tests of explain: the parts are exact and sum to the potential; tables, plots and traces."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.backend import generator
from cuslayer.inspection.explain import explain
from cuslayer.network.walk import units
from tests.support.refused import refused, refuses

pytestmark = pytest.mark.all

SRM = cs.SRM(tau_sr=4.0)


def delayed():
    layer = cs.Delay(6, dt=1.0, max_delay=9.0)
    layer.delay.data[:] = np.arange(6)
    return layer


# The stages before the last neurons, and the shape of the input.
CHAINS = {
    "conv with everything": ([cs.Conv, (4, 6, (3, 2)), {"stride": 2, "padding": (1, 0), "groups": 2}], (7, 6, 4)),
    "pool": ([cs.SumPool, (2,), {"gain": 11.0}], (5, 4, 2)),
    "conv transpose": ([cs.ConvTranspose, (2, 3, 3)], (4, 4, 2)),
    "shift ahead": ([cs.layers.Shift, (-2.0,)], (4,)),
}


def network(name):
    cs.seed(3)
    if name == "delay":
        return cs.Sequential(delayed(), cs.Dense(6, 3), SRM), (6,)
    (kind, given, *options), shape = CHAINS[name]
    layer = kind(*given, **(options[0] if options else {}))
    # A layer without weight or gain needs a larger input for neurons to fire.
    gain = [lambda x: x * 9.0] if kind is cs.layers.Shift else []
    return cs.Sequential(layer, *gain, SRM), shape


def check_parts(why, net, x, at):
    assert why.contributions.sum() + why.refractory == pytest.approx(why.potential, abs=1e-4 * (1 + abs(why.potential)))
    assert sum(s.share for s in why.spikes) == pytest.approx(why.contributions.sum(), abs=1e-9 * (1 + len(why.spikes)))
    assert sum(s.share for s in why.refractory_spikes) == pytest.approx(why.refractory)
    with cs.no_grad(), cs.record(net, layers=at) as seen:
        net(x)
    column = (why.time, why.sample, *why.index)
    assert why.potential == seen[at].potential[column]
    assert why.fired == seen[at].spikes[column]
    assert why.margin == pytest.approx(why.potential - 10.0)
    assert why.refractory == pytest.approx(seen[at].refractory[column], abs=1e-4)
    earlier = np.flatnonzero(seen[at].spikes[(slice(0, why.time), *column[1:])])
    assert set(why.refractory_spikes.time) <= set(earlier)
    return seen[at]


@pytest.mark.parametrize("name", [*CHAINS, "delay"])
def test_parts_sum_to_the_potential_and_each_spike_has_its_share(name):
    net, shape = network(name)
    at = len(net) - 1
    x = np.random.default_rng(1).random((40, 2, *shape)) < 0.3
    net.train(False)
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    net.train()
    fired = np.argwhere(seen[at].spikes[:, 1])
    fired = fired[fired[:, 0] >= 20]
    places = [fired[0], fired[-1], np.array([39, *(n - 1 for n in seen[at].spikes.shape[2:])])]
    for when, *neuron in (p.tolist() for p in places):
        why = cs.explain(net, x, at, tuple(neuron), when, sample=1)
        check_parts(why, net, x, at)
        assert why.contributions.shape == shape
        whole = srm_input(net, x)[(when, 1, *neuron)]
        for spike in [*why.spikes[:3], *why.spikes[-2:]]:
            less = x.copy()
            assert less[(spike.time, 1, *spike.sender)]
            less[(spike.time, 1, *spike.sender)] = False
            assert whole - srm_input(net, less)[(when, 1, *neuron)] == pytest.approx(spike.share, rel=1e-4, abs=1e-4)
        # A spike that is not listed has no share.
        named = {(s.time, s.sender) for s in why.spikes}
        strange = next(p for p in np.argwhere(x[:, 1]).tolist() if (p[0], tuple(p[1:])) not in named)
        less = x.copy()
        less[(strange[0], 1, *strange[1:])] = False
        assert whole - srm_input(net, less)[(when, 1, *neuron)] == pytest.approx(0, abs=1e-4)


def srm_input(net, x):
    net.train(False)
    with cs.no_grad():
        for stage in net.layers[:-1]:
            x = stage(x)
        net.train()
        return SRM.psp(x).data


def test_parts_by_hand():
    net = cs.Sequential(cs.Dense(3, 1), cs.SRM(theta=10.0, tau_sr=2.0, tau_ref=1.0, scale_ref=2.0))
    net[0].weight.data[:] = [[14.0], [-3.0], [5.0]]
    x = np.zeros((8, 1, 3), bool)
    x[[0, 1], 0, 0] = True
    x[1, 0, 1] = True
    eps, nu = net[1].response, net[1].refractory
    first = []
    for t in range(4):
        u = sum(14 * eps[t - f] for f in (0, 1) if f <= t) - 3 * eps[max(t - 1, 0)] + sum(nu[t - f] for f in first)
        assert cs.explain(net, x, 1, 0, t).potential == pytest.approx(u, abs=1e-5)
        first += [t] if u >= 10 else []
    assert first == [1]
    why = cs.explain(net, x, net[0], 0, 4)
    assert why.contributions.tolist() == pytest.approx([14 * (eps[4] + eps[3]), -3 * eps[3], 0.0], rel=1e-6)
    assert [(s.time, s.sender) for s in why.spikes] == [(1, (0,)), (0, (0,)), (1, (1,))]
    assert why.refractory == pytest.approx(sum(nu[4 - t] for t in first))
    assert sorted(why.refractory_spikes.time.tolist()) == first
    assert why.refractory_spikes[0].sender == (0,)
    assert repr(why.spikes).startswith("Spikes(3, shares of ")


def test_trace_reaches_input_events():
    net = cs.Network("8x8x2-3c3-2a-5", cs.SRM(tau_sr=4.0))
    x = np.random.default_rng(2).random((50, 1, 8, 8, 2)) < 0.1
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    when, neuron = np.argwhere(seen[5].spikes[:, 0])[-1].tolist()
    why = cs.explain(net, x, 5, neuron, when)
    trace = why.trace(3, most=2)
    assert len(trace.branches) == 2
    for spike, is_event, below in trace.branches:
        assert not is_event
        assert seen[3].spikes[(spike.time, 0, *spike.sender)]
        assert below.explanation.fired
        assert below.explanation.index == spike.sender
        for deeper, _, last in below.branches:
            assert seen[1].spikes[(deeper.time, 0, *deeper.sender)]
            assert all(b.is_event and b.why is None for b in last.branches)
    assert trace.events
    assert all(x[(t, 0, *place)] for t, place in trace.events)
    assert list(trace.events) == sorted(trace.events)
    assert why.trace().branches[0].why is None
    assert why.trace(9, most=2).events == trace.events
    lines = repr(trace).splitlines()
    assert lines[0] == why.headline()
    assert any(line.startswith("      ") and "input event (" in line for line in lines)
    owed = [b.why.explanation for b in trace.branches if len(b.why.explanation.refractory_spikes)]
    assert owed
    assert any(line.endswith("refraction") for line in lines)


def test_the_table():
    net = cs.Sequential(cs.Dense((2, 2, 1), 1), cs.SRM(theta=10.0, tau_sr=2.0))
    net[0].weight.data[:] = [[30.0], [1.0], [-4.0], [0.5]]
    x = np.zeros((9, 1, 2, 2, 1), bool)
    x[:6] = True
    why = cs.explain(net, x, 1, 0, 8)
    rows = why.parts(most=2)
    assert [row.name for row in rows] == ["input (0, 0, 0)", "input (1, 0, 0)", "2 other inputs", "refraction"]
    assert sum(row.size for row in rows) == pytest.approx(why.potential, abs=1e-4)
    assert rows[0].times.tolist() == [0, 1, 2, 3, 4, 5]
    head, *table = repr(why).splitlines()
    assert head.startswith("layer 1 (Dense((2, 2, 1), 1), SRM), neuron 0 at 8 ms (step 8), sample 0: ")
    assert "6 spikes at ..., 2, 3, 4, 5 ms" in table[0]
    assert float(table[-1].split()[1]) == pytest.approx(why.potential, abs=1e-4)
    assert why.parts(most=3)[2].name == "input (0, 1, 0)"
    assert why.parts(most=3)[3].name == "1 other input"


def test_the_waterfall():
    net = cs.Network("30-20-4", cs.SRM())
    x = np.random.default_rng(2).random((60, 1, 30)) < 0.3
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    when, neuron = np.argwhere(seen[1].spikes[:, 0])[-1].tolist()
    why = cs.explain(net, x, 1, neuron, when)
    parts = why.parts(most=5)
    ax = why.plot(most=5)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([*(p.size for p in parts), why.potential], abs=1e-4)
    # Each bar starts at the end of the one before, the first at 0; the last is the sum, from 0.
    begins = np.cumsum([0.0, *(p.size for p in parts)])
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([*begins[:-1], 0.0], abs=1e-4)
    assert [label.get_text() for label in ax.get_yticklabels()] == [*(p.name for p in parts), "u"]
    threshold = next(line for line in ax.get_lines() if line.get_label() == "threshold")
    assert threshold.get_xdata() == [10.0, 10.0]


def test_the_map():
    net = cs.Network("6x4x2-3", cs.SRM())
    x = np.random.default_rng(2).random((60, 1, 6, 4, 2)) < 0.3
    why = cs.explain(net, x, 1, 0, 50)
    for channel in (None, 1):
        image = why.plot_map(channel=channel).get_images()[0]
        expected = why.contributions.sum(axis=2) if channel is None else why.contributions[..., 1]
        assert (image.get_array() == expected).all()
        assert image.get_clim() == (-abs(expected).max(), abs(expected).max())
    silent = cs.explain(net, np.zeros_like(x), 1, 0, 50)
    assert silent.plot_map().get_images()[0].get_clim() == (-1.0, 1.0)
    with refuses("plot_map: channel must be under 2"):
        why.plot_map(channel=2)
    flat = cs.explain(cs.Network("4-3", SRM), np.ones((9, 1, 4), bool), 1, 0, 5)
    with refuses("plot_map: the input of layer 1 (Dense(4, 3), SRM) must be (H, W, C), it is (4,)"):
        flat.plot_map()


def test_what_does_not_reach_a_neuron_has_no_share():
    """Exactly: tiles of the gradient of an image would leave rounding errors around a window."""
    x = np.random.default_rng(2).random((30, 1, 9, 8, 2)) < 0.4
    why = cs.explain(cs.Network("9x8x2-4c3-5", cs.SRM()), x, 1, (4, 3, 0), 25)
    reached = np.zeros((9, 8), bool)
    reached[3:6, 2:5] = True
    assert ((why.contributions != 0).any(axis=2) == reached).all()


def test_one_forward_pass_of_one_sample_and_one_layer_per_trace_step():
    """Cost in evaluation: one sample runs forward, and each step of a trace runs backward through one layer."""
    passed = []

    def noting(number):
        return lambda x: (passed.append((number, x.shape)), x)[1]

    net = cs.Sequential(noting(0), cs.Dense(30, 20), SRM, noting(1), cs.Dense(20, 4), SRM, noting(2))
    x = np.random.default_rng(2).random((60, 8, 30)) < 0.3
    net.eval()
    why = cs.explain(net, x, 5, 1, 50, sample=3)
    assert passed == [(0, (60, 1, 30)), (1, (60, 1, 20)), (1, (60, 1, 20))]
    passed.clear()
    assert len(why.trace(3, most=2).branches) == 2
    assert passed == 2 * [(0, (60, 1, 30))]


def test_a_stage_that_is_not_linear_is_an_error():
    net = cs.Sequential(cs.Dense(4, 3), lambda x: x * x, SRM)
    x = np.ones((9, 1, 4), bool)
    with pytest.raises(ValueError, match=r"^explain: the parts of layer 2 .* sum to .*, not to u = .*: a stage before"):
        cs.explain(net, x, 2, 0, 8)


class Noisy(cs.Layer):
    """A layer of a user's that draws in training."""

    def __call__(self, x):
        return x * (1.0 + self.training * generator().random())


def any_network(rng):
    """Return a network of two to four layers, drawn from all stages that training runs otherwise, and its input."""
    cs.seed(int(rng.integers(99)))

    def before(n):
        stages = [
            [cs.BatchNorm(n, height=8.0, trained=bool(rng.integers(2)))],
            [cs.BatchNorm(n, scale=str(rng.choice(["none", "power"])), height=4.0)],
            [cs.Dropout(0.4)],
            [cs.Dropout(0.3), cs.BatchNorm(n, height=9.0)],
            [],
        ]
        return stages[rng.integers(len(stages))]

    def dense(n, m):
        delays = cs.SynapticDelays(4.0, steps=50) if rng.integers(2) else None
        return [cs.Dense(n, m, delays=delays, bias=bool(rng.integers(2))), *before(m)]

    def neurons(n):
        kinds = [
            SRM,
            cs.LIF(theta=4.0),
            cs.neurons.SampledSRM([0.0, 1.0, 0.5], [0.0, -3.0, -1.0], theta=4.0),
            cs.Recurrent(cs.Dense(n, n, weight_scale=2.0), cs.LIF(theta=3.0)),
        ]
        return kinds[rng.integers(len(kinds))]

    stages = [*dense(6, 5), neurons(5)]
    for _ in range(rng.integers(1, 4)):
        branch = cs.Sequential(*dense(5, 5), *([neurons(5), *dense(5, 5)] if rng.integers(2) else []))
        skip = cs.Sequential(*(before(5) if rng.integers(2) else []))
        stages += [cs.Parallel(branch, skip) if rng.integers(2) else branch, neurons(5)]
    x = rng.random((25, 4, 6)) < 0.4
    padded = cs.Tensor(
        x * (np.arange(25)[:, None, None] < 15 + 2 * np.arange(4)[:, None]), lengths=15 + 2 * np.arange(4)
    )
    return cs.Sequential(*stages), [x, padded, x * np.float32(1.5)][rng.integers(3)]


@pytest.mark.all
@pytest.mark.parametrize("seed", range(30))
def test_the_network_is_explained_as_it_is(seed):
    """In both modes potential and parts are those of the next call, and nothing changes, draws included."""
    rng = np.random.default_rng(seed)
    net, x = any_network(rng)
    for training in (True, False):
        net.train(training)
        cs.seed(seed)
        state, drawn = net.state(), generator().bit_generator.state
        statistics = [(layer.mean.data.copy(), layer.var.data.copy()) for layer in norms(net)]
        places = [unit.address for unit in units(net) if unit.neurons is not None]
        asked = [(at, rng.integers(5), rng.integers(9, 15), rng.integers(4)) for at in places]
        explained = [cs.explain(net, x, at, int(i), int(t), sample=int(n)) for at, i, t, n in asked]
        assert generator().bit_generator.state == drawn
        assert all(
            (mean == n.mean.data).all() and (var == n.var.data).all()
            for n, (mean, var) in zip(norms(net), statistics, strict=True)
        )
        assert all((a == state[name]).all() for name, a in net.state().items())
        assert all(layer.training == training for layer in net.layers_within())
        if seed % 3 == 0:
            for why in explained:
                why.trace(2, most=1)
        srm = [each for each in asked if net[each[0]] is SRM][:1]
        reassigned = [cs.reassign(net, x, [0, 1, 2, 3], at, int(i), sample=int(n)) for at, i, _, n in srm]
        with cs.no_grad(bool(seed % 2)), cs.record(net) as seen:
            net(x)
        for why, (at, i, t, n) in zip(explained, asked, strict=True):
            assert why.potential == seen[at].potential[t, n, i]
            assert why.fired == seen[at].spikes[t, n, i]
            assert sum(part.size for part in why.parts()) == pytest.approx(
                why.potential, abs=2e-4 * (1 + abs(why.potential))
            )
            assert why.exact
        for found, (at, i, _, n) in zip(reassigned, srm, strict=True):
            np.testing.assert_array_equal(found.potential, seen[at].potential[:, n, i])


def norms(net):
    return [layer for layer in net.layers_within() if isinstance(layer, cs.BatchNorm)]


def test_a_layer_that_draws_within_is_refused_in_training():
    cs.seed(1)
    net = cs.Sequential(cs.Dense(4, 3), Noisy(), SRM, cs.Dense(3, 3), Noisy(), SRM)
    x = np.random.default_rng(0).random((30, 4, 4)) < 0.5
    with pytest.raises(ValueError, match=r"or draws or normalizes in training; net.eval\(\) explains the network in"):
        cs.explain(net, x, 5, 0, 28)
    net.eval()
    assert cs.explain(net, x, 5, 0, 28).exact


def test_a_trace_is_of_the_network_that_was_explained():
    net = cs.Network("4-3-2", SRM)
    x = np.ones((9, 1, 4), bool)
    why = cs.explain(net, x, 3, 0, 8)
    before = str(why.trace(2))
    net[0].weight.data[...] *= 2
    assert str(why.trace(2)) == before


def test_errors():
    net = cs.Sequential(cs.Dense(4, 3), SRM, cs.Dense(3, 2), cs.Loihi())
    sent = cs.Sequential(cs.Dense(4, 3), cs.neurons.SigmaDelta(), cs.Dense(3, 2))
    x = np.ones((9, 1, 4), bool)
    for given, message in (
        ((3, x, 1, 0, 0), "explain: net must be a Network or Sequential"),
        ((net, x, 3, 0, 0), "explain: layer 3 (Dense(3, 2), Loihi) has Loihi neurons, whose"),
        (
            (sent, x, 1, 0, 0),
            "explain: layer 1 (Dense(4, 3), SigmaDelta) has SigmaDelta neurons, whose potential is no sum",
        ),
        ((net, x, 4, 0, 0), "explain: layer must be under 4, got 4; its layers are 0 "),
        ((net, x, 1, 3, 0), "explain: index 3 lies outside a layer of shape (3,)"),
        ((net, x, 1, 0, 9), "explain: time must be under 9 steps"),
        ((net, x, 1, 0, 0, 1), "explain: sample must be under 1"),
    ):
        refused(message, lambda given=given: explain(*given))
    why = cs.explain(net, x, 1, 0, 5)
    refused("trace: depth must be at least 1", lambda: why.trace(0))
    refused("explain: most must be at least 0", lambda: why.parts(-1))


def test_a_potential_at_the_threshold_fired():
    """The neurons compare in float32, where 0.7 is a little less than it is in float64."""
    theta = 0.7
    net = cs.Sequential(cs.SRM(theta=theta, tau_sr=2.0))
    x = np.zeros((6, 1, 1), np.float32)
    # At 2 ms the response is 1.
    x[0] = np.float32(theta)
    with cs.record(net) as seen:
        net(x)
    assert seen[0].potential[2, 0, 0] == np.float32(theta)
    assert seen[0].spikes[2, 0, 0]
    why = cs.explain(net, x, 0, 0, 2)
    assert why.fired
    assert why.margin == 0
    assert f"fired, u = {theta:g} is 0 over theta = {theta:g}" in why.headline()
    assert [step for step, *_ in np.argwhere(seen[0].spikes)] == [2]


def test_spikes_of_a_part_are_in_the_order_of_time():
    """Shares are sorted by size, in which the last spikes come first; times of a part are sorted by time."""
    why = cs.explain(cs.Sequential(cs.SRM(theta=10.0, tau_sr=2.0)), np.full((20, 1, 1), np.float32(30.0)), 0, 0, 12)
    assert len(why.refractory_spikes) > 2
    assert (np.diff(why.refractory_spikes.time) < 0).any()
    for part in why.parts():
        assert len(part.times) > 2
        assert (np.diff(part.times) > 0).all()


def test_an_event_that_two_spikes_lead_to_is_named_once():
    net = cs.Sequential(cs.Dense(1, 2), SRM, cs.Dense(2, 1), SRM)
    net[0].weight.data[:] = net[2].weight.data[:] = 50.0
    x = np.zeros((12, 1, 1), bool)
    x[0] = True
    trace = cs.explain(net, x, 3, 0, 6).trace(2, most=2)
    assert [branch.why.events for branch in trace.branches] == 2 * [((0, (0,)),)]
    assert trace.events == ((0, (0,)),)


# Errors of a neuron, `on_gradient`, and observers of a network.


def case(gradient="slayer"):
    srm = cs.SRM(gradient=gradient, tau_sr=4.0)
    net = cs.Network("8x8x2-3c3-2a-5", srm)
    return srm, net, np.random.default_rng(2).random((60, 2, 8, 8, 2)) < 0.2


@pytest.mark.parametrize(
    ("gradient", "layer", "neuron"), [("exact", 1, (2, 7, 1)), ("slayer", 3, (0, 3, 2)), ("exact", 5, 4)]
)
def test_the_errors_are_those_of_a_record(gradient, layer, neuron):
    """Which test_record.py compares with the tape."""
    srm, net, x = case(gradient)
    found = cs.reassign(net, x, [1, 3], layer, neuron, sample=1)
    assert found.spikes_error.any()
    assert found.theta == 10.0
    assert (found.spikes == (found.potential >= 10.0)).all()
    most = abs(found.weighted_error).max()
    np.testing.assert_allclose(found.spread.sum(axis=1), found.weighted_error, atol=1e-5 * most)
    assert found.spread[30, 40] == pytest.approx(srm.response[10] * found.potential_error[40])
    assert found.spread[40, 30] == 0
    where = neuron if isinstance(neuron, tuple) else (neuron,)
    assert found.index == where
    with cs.record(net) as seen:
        loss = cs.SpikeCountLoss(srm)
        value = loss(net(x), [1, 3])
    value.backward()
    assert found.loss == value.item()
    for name in ("spikes", "potential", "surrogate", "spikes_error", "potential_error", "weighted_error"):
        expected = getattr(seen[layer], name)[(slice(None), 1, *where)]
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-5 * (1 + abs(expected).max()))


def test_the_loss_that_fits_the_target():
    srm, net, x = case()
    trains = np.random.default_rng(0).random((60, 2, 5)) < 0.1
    given = cs.reassign(net, x, trains, 3, 0, loss=cs.SpikeTimeLoss(srm))
    assert cs.reassign(net, x, trains, 3, 0).loss == given.loss
    one_hot = np.eye(5)[[1, 3]]
    counted = cs.reassign(net, x, one_hot, 3, 0, loss=cs.SpikeCountLoss(srm))
    assert cs.reassign(net, x, one_hot, 3, 0).loss == counted.loss != given.loss
    assert cs.reassign(net, x, cs.Tensor(trains), 3, 0).loss == given.loss


def test_the_plot_of_errors():
    _, net, x = case()
    found = cs.reassign(net, x, [1, 3], 3, (1, 2, 1))
    axes = found.plot()
    spikes, potential, surrogate, *errors = axes
    drawn = [segment[0][0] for segment in spikes.collections[0].get_segments()]
    assert drawn == found.time[found.spikes].tolist()
    assert len(drawn) > 0
    lines = {ax: {line.get_label(): line for line in ax.get_lines()} for ax in axes}
    assert (lines[potential]["potential"].get_ydata() == found.potential).all()
    assert lines[potential]["threshold"].get_ydata() == [10.0, 10.0]
    assert (lines[surrogate]["surrogate"].get_ydata() == found.surrogate).all()
    names = ("spikes_error", "potential_error", "weighted_error")
    for ax, name in zip(errors, names, strict=True):
        assert (lines[ax][name].get_ydata() == getattr(found, name)).all()
        assert (lines[ax][name].get_xdata() == found.time).all()
    pieces = [line.get_ydata() for line in errors[-1].get_lines() if line.get_label() == "_piece"]
    assert (pieces[0] == found.spread[:, abs(found.potential_error).argmax()]).all()
    with refuses("plot: axes must be six"):
        found.plot(axes[:2])


def test_errors_of_reassignment():
    _, net, x = case()
    with refuses("reassign: net must be a Network or Sequential"):
        cs.reassign(3, x, [1, 3], 1, 0)
    with refuses("reassign: loss must be a function of spikes and target"):
        cs.reassign(net, x, [1, 3], 1, 0, loss=3)
    with refuses("SpikeCountLoss: labels have shape (1,), spikes (T, 2, 5) expect (2,) or (2, 5)"):
        cs.reassign(net, x, [1], 5, 0)
    alone = cs.Sequential(cs.Dense(4, 3))
    with refuses("reassign: layer 0 (Dense(4, 3)) has no SRM neurons"):
        cs.reassign(alone, np.ones((5, 1, 4), bool), [1], 0, 0)


def test_on_gradient_is_the_identity_and_reports_the_gradient():
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    assert cs.gradcheck(lambda x: functions.on_gradient(x, callback=lambda g: None) * x, x) < 1e-6
    shown = []
    t = cs.Tensor(x, requires_grad=True)
    y = functions.on_gradient(t, callback=shown.append)
    assert y.data is t.data
    (y * 3.0).sum().backward()
    assert (shown[0] == 3.0).all()
    assert (t.grad == 3.0).all()
    assert not functions.on_gradient(x, callback=shown.append).requires_grad
