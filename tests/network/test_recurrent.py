"""Networks with recurrent layers: notation, streams, chunks, records, explanations, files, calibration, training."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.network import stream as chunked
from cuslayer.training import Trainer
from tests.support.refused import refuses

pytestmark = pytest.mark.all

PLAIN = {"scale_rho": 1.0, "gradient": "slayer"}
KINDS = {
    "SRM": lambda **o: cs.SRM(theta=1.0, tau_sr=3.0, **PLAIN, **o),
    "LIF": lambda **o: cs.LIF(6.0, reset="subtract", **PLAIN, **o),
    "CUBA": lambda **o: cs.CUBA(2.0, 6.0, **PLAIN, **o),
    "ALIF": lambda **o: cs.AdaptiveLIF(2.0, 6.0, 20.0, 3.0, rise=0.2, **PLAIN, **o),
    "ADLIF": lambda **o: cs.AdLIF(6.0, 60.0, q=5.0, theta=0.1, **o),
    "BRF": lambda **o: cs.neurons.BalancedResonateAndFire(40.0, 5.0, gamma=0.5, **o),
    "SRNN": lambda **o: cs.neurons.NormalizedALIF(6.0, 30.0, 0.2, theta=0.1, **o),
}


def network(kind, notation="12-7r-4", **options):
    cs.seed(3)
    net = cs.Network(notation, KINDS[kind](**options))
    for stage in net.layers:
        layer = getattr(stage, "layer", stage)
        if hasattr(layer, "weight"):
            layer.weight.data *= (1 if layer is stage else 6) * (600 if kind == "BRF" else 1)
    return net, np.random.default_rng(1).random((60, 3, 12)) < 0.2


def test_notation():
    net, _ = network("SRM")
    first, population, last, neuron = net.layers
    assert [type(each).__name__ for each in net.layers] == ["Dense", "Recurrent", "Dense", "SRM"]
    assert (first.out_features, population.layer.in_features, population.layer.out_features) == (7, (7,), 7)
    assert (population.neuron, last.in_features) == (neuron, (7,))
    assert list(net.state()) == ["0.weight", "1.layer.weight", "2.weight"]
    assert net.output_shape((12,)) == (4,)
    assert cs.Network("4x4x2-8r-3", neuron)(np.zeros((2, 1, 4, 4, 2), bool)).shape == (2, 1, 3)
    with refuses("Network: '7q' in '12-7q-4' is no layer"):
        cs.Network("12-7q-4", neuron)
    with refuses("Word: '7r' is a recurrent word, which takes no stride"):
        cs.network.Word("7r", stride=2)


def test_words_have_options():
    neuron, own = cs.LIF(), cs.CUBA(**PLAIN)
    words = [
        cs.network.Word("12"),
        cs.network.Word("64r", weight_scale=4.0, neuron=own, delay=True, max_delay=3.0),
        cs.network.Word("4"),
    ]
    dense, population, delay, *_ = cs.Network(words, neuron).layers
    assert population.neuron is own
    assert delay.max_delay == 3.0
    assert 0.9 < abs(dense.weight.data).max() * 12**0.5 / 4.0 <= 1
    # The scale is of the weights before the neurons alone.
    assert dense.own_scale
    plain = cs.Network("12-64r-4", own).layers[1]
    for given in (population.layer, plain.layer):
        np.testing.assert_allclose(given.weight.data.T @ given.weight.data, np.eye(64) * 0.0196**2, atol=2e-6)
        assert not given.own_scale


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_and_chunks_have_the_same_spikes(kind, monkeypatch):
    net, x = network(kind)
    expected = net(x).data
    assert expected.any()
    stream = net.stream()
    parts = [stream.step(x[0])[None], stream(x[1:9]), stream(x[9:])]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    stream.reset()
    np.testing.assert_array_equal(stream(x), expected)
    monkeypatch.setattr(chunked, "chunk_steps", lambda graph, shape: 7)
    with cs.no_grad():
        np.testing.assert_array_equal(net(x).data, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delay", [1.0, 3.0])
def test_recorded_and_explained(kind, delay):
    net, x = network(kind)
    net.layers[1] = cs.Recurrent(net[1].layer, net[1].neuron, delay=delay)
    expected = net(x).data
    with cs.record(net) as seen:
        found = net(x)
        cs.SpikeCountLoss(net[3], true=20, false=5)(found, [0, 1, 2]).backward()
    np.testing.assert_array_equal(found.data, expected)
    record, steps = seen[1], int(delay)
    spikes = record.spikes.values
    sent = np.concatenate([np.zeros_like(spikes[:steps]), spikes])[:60].astype(np.float64)
    weight = net[1].layer.weight.data
    # Large weights may cancel.
    np.testing.assert_allclose(record.recurrent.values, sent @ weight, rtol=1e-5, atol=1e-6 * abs(weight).max())
    np.testing.assert_array_equal(record.weighted.values, net[0](x).data)
    assert record.weighted_error.values.any()
    assert "recurrent" in repr(record)
    assert "recurrent" not in repr(seen[3])
    # The potential is that of the plain neurons for both inputs together.
    whole = net[1].neuron(record.weighted.values + record.recurrent.values).data
    assert (whole != spikes).mean() < 0.01
    with cs.record(net, neurons={1: [2, 5]}, window=(20, 40)) as part:
        net(x)
    np.testing.assert_array_equal(part[1].recurrent.values, record.recurrent.values[20:40][..., [2, 5]])
    shared = 0
    for time, neuron in [(59, 0), (30, 4), (3, 2), (0, 6)]:
        why = cs.explain(net, x, 1, neuron, time, sample=1)
        assert why.exact
        assert [source.address for source in why.sources] == [None, 1]
        size = 1 + abs(why.contributions).sum()
        u = float(record.potential.values[time, 1, neuron])
        assert abs(why.contributions.sum() + why.refractory - u) <= 1e-4 * size
        own = why.sources[1].spikes
        shared += len(own)
        assert (own.time <= time - steps).all()
        assert spikes[own.time, 1, own.sender[:, 0]].all()
        assert why.potential == pytest.approx(u)
    assert shared > 20
    # A trace follows a population's spikes to their own causes.
    trace = cs.explain(net, x, 1, 0, 59, sample=1).trace(2, most=20)
    both = {"layer 1", "the network's input"}
    assert {"layer 1"} <= set(trace.sources) <= both if kind == "BRF" else set(trace.sources) == both
    assert "spike of layer 1, neuron" in repr(trace)


def test_a_convolution_to_itself_in_a_network():
    cs.seed(0)
    lif = cs.LIF(6.0)
    net = cs.Sequential(
        cs.Conv(2, 3, 3, padding=1, weight_scale=4.0),
        cs.Recurrent(cs.Conv(3, 3, 3, padding=1, groups=3, weight_scale=2.0), lif),
        cs.Dense((5, 4, 3), 2, weight_scale=4.0),
        lif,
    )
    x = np.random.default_rng(0).random((30, 2, 5, 4, 2)) < 0.2
    out = net(x)
    out.backward(np.ones(out.shape, np.float32))
    assert all(p.grad.any() for p in net.parameters())
    np.testing.assert_array_equal(net.stream()(x), out.data)
    why = cs.explain(net, x, 1, (2, 3, 1), 25)
    assert why.exact
    assert why.sources[1].contributions.shape == (5, 4, 3)
    # Groups of one channel: only the channel itself.
    assert set(np.nonzero(why.sources[1].contributions)[2].tolist()) == {1}


def test_calibration_scales_what_goes_round_too():
    """By the errors, whatever the scale was; a scale of one's own is kept by a trainer, and any in `keep`."""
    net, x = network("LIF", "12-40r-4")
    other, _ = network("LIF", "12-40r-4")
    other[1].layer.weight.data *= 20
    found = cs.calibrate(net, [x], rate=60.0)
    assert [50 < layer.rate < 70 for layer in found.layers] == [True, True]
    cs.calibrate(other, [x], rate=60.0)
    np.testing.assert_allclose(other[1].layer.weight.data, net[1].layer.weight.data, rtol=0.1)
    kept, _ = network("LIF", "12-40r-4")
    before = [p.data.copy() for p in kept.parameters()]
    cs.calibrate(kept, [x], rate=60.0, keep=[0, 1])
    np.testing.assert_array_equal(kept[0].weight.data, before[0])
    np.testing.assert_array_equal(kept[1].layer.weight.data, before[1])
    for scale, same in ((3.0, True), (10.0, True), (None, False)):
        own = cs.Recurrent(cs.Dense(7, 7, weight_scale=scale), cs.LIF())
        drawn, net = own.layer.weight.data.copy(), cs.Sequential(cs.Dense(12, 7), own)
        loss = cs.SpikeCountLoss(cs.LIF(), true=9, false=2)
        Trainer(net, loss, cs.SGD(net.parameters(), 0.1)).prepare([(x, [0, 1, 2])])
        assert (own.layer.weight.data == drawn).all() == same
