"""Inspection of networks with branches, nested networks and shared layers: records, explanations, health, tables."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import as_tensor
from cuslayer.inspection.structure import find_unit, output_shapes
from cuslayer.network.walk import Walk, units
from tests.support.branches import EXACT, FRAMES, NETWORKS, SRM, conv, first_and_last, nested, skip, spikes
from tests.support.refused import refuses

pytestmark = pytest.mark.all


def check_sum(why):
    shares = sum(float(source.spikes.share.sum()) for source in why.sources)
    size = 1 + abs(why.potential)
    of_spikes = np.zeros(why.contributions.shape)
    np.add.at(of_spikes, tuple(why.spikes.sender.T), why.spikes.share)
    np.testing.assert_allclose(of_spikes, why.contributions, rtol=1e-6, atol=1e-9)
    for part in why.parts(most=3):
        for number, source in enumerate(why.sources):
            if part.name.startswith("input ") and (len(why.sources) == 1 or part.name.endswith(f" of {source.place}")):
                index = tuple(int(n) for n in re.findall(r"\d+", part.name.partition(" of ")[0]))
                own = [spike.time for spike in source.spikes if spike.sender == index]
                assert sorted(own) == part.times.tolist(), number
                assert part.size == pytest.approx(source.contributions[index])
    assert why.contributions.sum() + why.refractory == pytest.approx(why.potential, abs=1e-4 * size)
    assert shares == pytest.approx(why.contributions.sum(), abs=1e-9 * (1 + len(why.spikes)))
    assert why.spikes.share.sum() == pytest.approx(shares, abs=1e-9 * (1 + len(why.spikes)))
    assert sum(part.size for part in why.parts()) == pytest.approx(why.potential, abs=1e-4 * size)


@pytest.mark.parametrize("name", NETWORKS)
def test_records_and_explanations_of_every_layer(name):
    """Inputs, spikes and potentials of neurons in branches, and the network's bits, with all layers recorded."""
    cs.seed(6)
    net, x = NETWORKS[name](), spikes(*FRAMES)
    expected = {at.address: (at.inputs, at.output) for at in Walk(net, as_tensor(x))}
    plain = net(x)
    with cs.record(net) as seen:
        out = net(x)
    np.testing.assert_array_equal(out.data, plain.data)
    for unit in units(net):
        record, (inputs, output) = seen[unit.address], expected[unit.address]
        if unit.neurons is None:
            np.testing.assert_array_equal(record.output, output.data)
            continue
        np.testing.assert_array_equal(record.spikes, output.data)
        np.testing.assert_allclose(record.weighted, inputs[0].data, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(record.filtered + record.refractory, record.potential, rtol=1e-4, atol=1e-3)
        fired = np.argwhere(record.spikes[:, 1])
        time, *neuron = fired[len(fired) // 2] if len(fired) else [12, *(0 for _ in record.spikes.shape[2:])]
        why = cs.explain(net, x, unit.address, tuple(neuron), int(time), sample=1)
        check_sum(why)
        assert why.potential == record.potential[(time, 1, *neuron)]
        assert str(why).startswith(f"layer {unit.last} (")


@pytest.mark.parametrize("neuron", [SRM, EXACT], ids=["slayer", "exact"])
def test_errors_of_neurons_whose_spikes_go_two_ways(neuron):
    """The neurons before a skip get the errors of both branches; the gradients do not change by a bit."""
    cs.seed(6)
    net, x = skip(neuron), spikes(*FRAMES)

    def gradients(**options):
        for p in net.parameters():
            p.grad = None
        with cs.record(net, **options) as seen:
            (net(x) * cs.Tensor(np.arange(4.0, dtype=np.float32))).sum().backward()
        return seen, [p.grad for p in net.parameters()]

    seen, with_record = gradients()
    _, without = gradients(layers=[0])
    for a, b in zip(with_record, without, strict=True):
        np.testing.assert_array_equal(a, b)
    first, inner = seen[1], seen[2, 0, 1]
    # By hand: what the convolution in the branch gives back, and what the join does.
    around = net[2, 0, 0]
    given = cs.Tensor(np.asarray(first.spikes), requires_grad=True)
    around(given).backward(np.asarray(inner.weighted_error))
    np.testing.assert_allclose(first.spikes_error, given.grad + inner.spikes_error, rtol=1e-4, atol=1e-5)


def test_addresses():
    net = nested()
    parallel, dense = net[0], net[2]
    assert net[0, 0, 0] is parallel.branches[0].layers[0]
    assert net[0, 0, 0, 1] is parallel[0][0][1]
    assert net[0, 2] is parallel.branches[2]
    assert net[-2, -1, 0] is dense[2][0]
    assert net[dense[2][0]] is dense[2][0]
    assert net[parallel] is parallel
    assert find_unit(net, parallel).address == 1  # the join, whose neurons are those after it
    assert find_unit(net, (0, 0)).address == (0, 0, 1)
    assert find_unit(net, dense).address == 3
    assert find_unit(net, dense[2][0]).address == 3
    assert find_unit(net, (0, 0, 0, 0, 0)).address == (0, 0, 0, 0, 1)
    assert str(find_unit(net, (0, 0, 0, 0, -1)).last) == "0.0.0.0.1"
    with cs.record(net, layers=[(2, 1), 3], neurons={(2, 1): [0, 5], 3: 1}) as seen:
        net(spikes(*FRAMES))
    assert [record.spikes.shape[2:] for record in seen] == [(2,), (1,)]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (4, "layer must be under 4, got 4"),
        ((0, 3), "layer in layer 0 must be under 3, got 3"),
        ((0, 0, 2), "layer in layer (0, 0) must be under 2, got 2"),
        ((1, 0), "layer in layer 1 must be under 0, got 0"),
        ((0, 1), "layer (0, 1) is empty: it passes the network's input on"),
        (SRM, "layer SRM stands at (0, 0, 0, 0, 1), 1, (2, 1), 3: name a position"),
    ],
)
def test_addresses_that_are_none(layer, message):
    with pytest.raises(IndexError if "under" in message else ValueError) as error:
        find_unit(nested(), layer)
    assert str(error.value).partition("; its layers are 0 ")[0] == message


def test_an_index_into_a_layer():
    net = nested()
    with refuses("Sequential: no layer (1, 0): SRM is no network"):
        net[1, 0]
    with refuses("Parallel: no branch 3 in 3"):
        net[0, 3]


def test_an_explanation_is_the_effect_of_removing_a_spike():
    """With float64 weights, the share of each input is the change of u without it, for all sources."""
    cs.seed(7)
    linear = cs.Parallel(cs.Sequential(conv(2, 2), SRM), cs.Sequential(), conv(2, 2, 1), join="concatenate")
    net = cs.Sequential(conv(2, 2), SRM, linear, cs.Dense((6, 5, 6), 3), SRM)
    for p in net.parameters():
        p.data = p.data.astype(np.float64)
    x = spikes(*FRAMES, samples=1)
    why = cs.explain(net, x, 4, 1, 20)
    assert [source.place for source in why.sources] == ["layer 1", "layer 2.0.1"]
    first, inner = why.sources
    assert first.contributions.shape == inner.contributions.shape == (6, 5, 2)
    assert why.contributions.shape == (120,)
    # The weighted input is linear in the spikes of both: filter each by hand.
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    weight = net[3].weight.data.reshape(6, 5, 6, 3)[..., 1]
    pointwise = net[2, 2].weight.data[0, 0]
    lags = 20 - np.arange(25)
    eps = np.where(lags >= 0, np.append(SRM.response, 0)[lags.clip(0, len(SRM.response))], 0)
    of_first = (eps[:, None, None, None] * seen[1].spikes[:, 0]).sum(axis=0)
    of_inner = (eps[:, None, None, None] * seen[2, 0, 1].spikes[:, 0]).sum(axis=0)
    np.testing.assert_allclose(inner.contributions, of_inner * weight[..., :2], rtol=1e-9, atol=1e-9)
    through = weight[..., 2:4] + weight[..., 4:] @ pointwise.T
    np.testing.assert_allclose(first.contributions, of_first * through, rtol=1e-9, atol=1e-9)
    assert why.filtered + why.refractory == pytest.approx(why.potential, abs=1e-9 * 1000)


def test_parts_and_traces_name_their_layers():
    cs.seed(7)
    net, x = skip(), spikes(*FRAMES, samples=1)
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    time, *neuron = np.argwhere(seen[4].spikes[:, 0])[-1].tolist()
    why = cs.explain(net, x, 4, tuple(neuron), time)
    assert [source.address for source in why.sources] == [1, (2, 0, 1)]
    names = [part.name for part in why.parts(40)]
    assert any(name.endswith(" of layer 1") for name in names)
    assert any(name.endswith(" of layer 2.0.1") for name in names)
    trace = why.trace(3, most=4)
    assert {"layer 1", "layer 2.0.1"} >= set(trace.sources)
    assert trace.events
    assert all(x[step, 0][index] for step, index in trace.events)
    assert "spike of layer " in str(trace)
    sizes = [abs(branch.spike.share) for branch in trace.branches]
    assert sizes == sorted(sizes, reverse=True)
    deeper = why.trace(2, most=6)
    for branch, place in zip(deeper.branches, deeper.sources, strict=True):
        assert branch.why.explanation.layer.startswith(f"{place} (")
    assert set(why.trace(1, most=1000).sources) == {"layer 1", "layer 2.0.1"}
    axes = why.plot_map(source=1)
    np.testing.assert_allclose(axes.images[0].get_array(), why.sources[1].contributions.sum(axis=2))
    with refuses("plot_map: source must be under 2"):
        why.plot_map(source=2)


@pytest.mark.parametrize("name", ["kernels_of_two_sizes", "shared"])
def test_gradients_compared_in_every_layer(name):
    cs.seed(9)
    net, x = NETWORKS[name](), spikes(*FRAMES, steps=12, samples=1)
    with cs.no_grad():
        shape = net(x).shape
    target = np.random.default_rng(2).random(shape) < 0.1
    found = cs.inspection.compare_gradients(net, x, target, loss=cs.SpikeTimeLoss(SRM), perturbations=2)
    assert {row.layer for row in found.rows} >= {unit.address for unit in units(net) if unit.neurons is not None}
    for row in found.rows:
        if row.perturbed in ("weight", "potential"):
            assert abs(row.exact).max() > 1e-6
            np.testing.assert_allclose(row.measured, row.exact, rtol=1e-3, atol=1e-3 * abs(row.exact).max())


def test_a_layer_with_two_kinds_of_neurons():
    """Its weighted input goes to both; it is a unit by itself, and so are the neurons."""
    fast, slow = cs.SRM(tau_sr=2.0), cs.SRM(tau_sr=8.0)
    net = cs.Sequential(cs.Dense(4, 3), cs.Parallel(fast, slow, join="concatenate"), cs.Dense(6, 2), SRM)
    assert [(u.layer and u.layer.address, u.neurons and u.neurons.address) for u in units(net)] == [
        *((0, None), (None, (1, 0)), (None, (1, 1)), (1, None), (2, 3))
    ]
    x = spikes(4)
    with cs.record(net) as seen:
        net(x)
    np.testing.assert_array_equal(seen[fast].weighted, seen[0].output)
    np.testing.assert_array_equal(seen[slow].weighted, seen[0].output)
    check_sum(cs.explain(net, x, slow, 1, 20))
    check_sum(cs.explain(net, x, 3, 1, 20))


def test_a_page_has_the_errors_of_all_branches_that_end_the_network():
    from cuslayer.inspection.report.contents import contents

    net = first_and_last()
    layers = contents(net, as_tensor(spikes(*FRAMES)).data, [0, 1], None)["layers"]
    assert [layer.get("errors") is not None for layer in layers] == [False, False, False, False, True, True]
    assert [layer["sources"] for layer in layers[1:]] == [[0], [0], [1, 2], [3], [3]]


def test_shapes_and_the_notebook_table():
    net = first_and_last()
    assert (output_shapes(net)[:5], output_shapes(net)[-5:]) == ([None] * 5, [(4,)] * 5)
    html = net._repr_html_()
    assert "Join(add) on 0.0.1, 0.1.1" in html
    assert html.count("<tr") == 1 + len(net.graph.nodes)


def test_records_of_a_nested_network():
    """A nested network is recorded where the outer one runs, with its own addresses, and without a change of bits."""
    inner = cs.Sequential(conv(2, 2), SRM)
    net = cs.Sequential(conv(2, 2), SRM, cs.Parallel(inner, cs.Sequential()), conv(2, 2), SRM)
    x = spikes(*FRAMES)
    plain = net(x)
    with cs.record(net) as outer, cs.record(inner) as seen:
        np.testing.assert_array_equal(net(x).data, plain.data)
    np.testing.assert_array_equal(seen[1].spikes, outer[2, 0, 1].spikes)
    np.testing.assert_array_equal(seen[1].potential, outer[2, 0, 1].potential)
    # It saves potentials as the network around it, and its errors are of these.
    net.potentials = "float16"
    with cs.record(net) as outer, cs.record(inner) as seen:
        (net(x) * 1.0).sum().backward()
    np.testing.assert_array_equal(seen[1].potential_error, outer[2, 0, 1].potential_error)
    np.testing.assert_array_equal(seen[1].weighted_error, outer[2, 0, 1].weighted_error)
    # An edge within what would run as one pass.
    halves = cs.Sequential(cs.Sequential(conv(2, 2)), cs.Sequential(SRM, cs.SumPool(2, gain=11.0)), SRM)
    with cs.record(halves[1]) as seen:
        out = halves(x)
    np.testing.assert_array_equal(out.data, halves(x).data)
    assert seen[0].spikes.shape == (25, 2, 6, 5, 2)
    assert seen[1].output.shape == (25, 2, 3, 3, 2)
