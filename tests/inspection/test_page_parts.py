"""Tests that the pages show the parts of a potential that `explain` has, for every kind of neuron that it explains."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cuslayer as cs
from tests.support.kinds import Echo, Exponential, Izhikevich, Offset, Quadratic, Resting

pytestmark = pytest.mark.all

KINDS = {
    "LIF": lambda: cs.LIF(tau=[5.0, 9.0, 20.0, 30.0, 7.0, 12.0]),
    "LIF that subtracts": lambda: cs.LIF(reset="subtract"),
    "CUBA": cs.CUBA,
    "AdLIF": lambda: cs.AdLIF(theta=0.3).spread(6, tau_u=(5, 25), tau_w=(60, 300), a=(0, 1), b=(0, 2)),
    "AdaptiveLIF": cs.AdaptiveLIF,
    "NormalizedALIF": lambda: cs.neurons.NormalizedALIF(theta=0.1),
    "ResonateAndFire": cs.neurons.ResonateAndFire,
    "BalancedResonateAndFire": lambda: cs.neurons.BalancedResonateAndFire(theta=0.01),
    "SampledSRM": lambda: cs.neurons.SampledSRM([0.0, 1.0, 0.5], [0.0, -3.0, -1.0], theta=1.0),
    "SRM": lambda: cs.SRM(theta=3.0, tau_sr=4.0),
    "Quadratic": Quadratic,
    "Exponential": Exponential,
    "Izhikevich": Izhikevich,
    "Izhikevich with a drive": lambda: Izhikevich(drive=10.0),
    "Resting": Resting,
    "Echo": Echo,
    "Offset": lambda: Offset(level=np.linspace(0.1, 0.6, 6)),
}


def check(there, net, x, layer, at):
    """Compare the parts of a layer's neurons with Python's, at spikes and at the end; the page calls the layer `at`."""
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    fired = seen[layer].spikes[:, 0].reshape(len(x), -1)
    assert fired.any()
    shape = seen[layer].spikes.shape[2:]
    for neuron in range(0, fired.shape[1], 1 + fired.shape[1] // 6):
        for time in [*np.flatnonzero(fired[:, neuron])[-2:].tolist(), len(x) - 1]:
            why = cs.explain(net, x, layer, tuple(map(int, np.unravel_index(neuron, shape))), time)
            found = there.run(f"JSON.parse(JSON.stringify(model.explain({at}, {neuron}, {time})))")
            close = {"abs": 1e-4 * why.size}
            assert found["potential"] == pytest.approx(why.potential, **close)
            assert found["refractory"] == pytest.approx(why.refractory, **close)
            assert found["bias"] == pytest.approx(why.bias, **close)
            assert found["rest"] == pytest.approx(why.rest, **close)
            assert found["left"] == pytest.approx(why.unexplained, **close)
            sizes = [np.zeros(source.contributions.size) for source in why.sources]
            for part in found["contributions"]:
                sizes[part["source"] - (at - 1)][part["input"]] = part["size"]
            for size, source in zip(sizes, why.sources, strict=True):
                np.testing.assert_allclose(size, source.contributions.ravel(), atol=1e-4 * why.size)
            assert found["fired"] == why.fired
            rows = there.run(f"JSON.parse(JSON.stringify(partsOf(model, {at}, {json.dumps(found)})))")
            total = sum(row["size"] for row in rows)
            assert total == pytest.approx(found["potential"], **close)
            assert "all that comes in" not in [row["name"] for row in rows]


def scale_of(neuron):
    """Return the scale of weights with which neurons fire."""
    return 40.0 if neuron.theta > 20 else 40.0 * neuron.theta if neuron.theta > 2 else 9.0


@pytest.mark.parametrize("name", KINDS)
def test_a_report_has_the_parts_of_every_kind(there, tmp_path, name):
    cs.seed(2)
    neuron = KINDS[name]()
    net = cs.Sequential(cs.Dense(20, 6, weight_scale=scale_of(neuron)), neuron)
    x = np.random.default_rng(3).random((60, 1, 20)) < 0.1
    there.open(cs.write_report(net, x, tmp_path / "report.html"))
    check(there, net, x, 1, 1)
    assert there.there.said == []


POPULATIONS = {
    "LIF": lambda: cs.Recurrent(cs.Dense(6, 6, weight_scale=6.0), cs.LIF(), delay=3.0),
    "SRM": lambda: cs.Recurrent(cs.Dense(6, 6, weight_scale=30.0), cs.SRM(theta=3.0, tau_sr=4.0)),
    "Izhikevich with delays": lambda: cs.Recurrent(
        cs.Dense(6, 6, weight_scale=30.0, delays=cs.SynapticDelays(5.0, steps=60)), Izhikevich()
    ),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_recurrent_spikes_are_inputs(there, tmp_path, name):
    cs.seed(2)
    population = POPULATIONS[name]()
    net = cs.Sequential(cs.Dense(20, 6, weight_scale=scale_of(population)), population).eval()
    x = np.random.default_rng(3).random((60, 1, 20)) < 0.1
    there.open(cs.write_report(net, x, tmp_path / "report.html"))
    check(there, net, x, 1, 1)
    assert there.there.said == []


def test_frames_of_recurrent_neurons(there, tmp_path):
    cs.seed(2)
    population = cs.Recurrent(cs.Conv(3, 3, 3, padding=1, weight_scale=9.0), Quadratic())
    net = cs.Sequential(cs.Conv(2, 3, 3, padding=1, weight_scale=9.0), population)
    x = np.random.default_rng(3).random((40, 1, 4, 5, 2)) < 0.1
    there.open(cs.write_report(net, x, tmp_path / "report.html"))
    check(there, net, x, 1, 1)


@pytest.mark.parametrize("neuron", [cs.SRM(theta=3.0, tau_sr=4.0), cs.LIF(), Quadratic()])
def test_biases_and_normalizations_are_one_part(there, tmp_path, neuron):
    cs.seed(2)
    net = cs.Sequential(
        *(cs.Conv(2, 3, 3, padding=1, weight_scale=9.0, bias=True), delay((4, 5, 3))),
        *(
            cs.BatchNorm(3, trained=True, height=3.0),
            neuron,
            cs.Dense((4, 5, 3), 4, weight_scale=9.0, bias=True),
            neuron,
        ),
    )
    draw = np.random.default_rng(3)
    for stage in (net[0], net[2], net[4]):
        for name in ("bias", "mean", "offset"):
            if hasattr(stage, name):
                values = getattr(stage, name).data
                values[:] = draw.uniform(0.05, 0.2, values.shape)
    x = draw.random((40, 1, 4, 5, 2)) < 0.1
    net.eval()
    there.open(cs.write_report(net, x, tmp_path / "report.html", target=[1]))
    check(there, net, x, 3, 1)
    check(there, net, x, 5, 2)
    assert there.there.said == []


def delay(shape):
    """Return delays of 0 to 3 steps."""
    layer = cs.Delay(shape, dt=1.0, max_delay=9.0)
    layer.delay.data[:] = np.arange(layer.delay.size).reshape(layer.delay.shape) % 4
    return layer


def test_a_page_that_runs_its_network_has_them_too(page):
    cs.seed(2)
    net = cs.Sequential(
        *(cs.Dense(20, 8, weight_scale=9.0), cs.Recurrent(cs.Dense(8, 8), cs.AdLIF(theta=0.3))),
        *(cs.Dense(8, 5, weight_scale=9.0), Quadratic()),
    )
    x = np.random.default_rng(3).random((60, 1, 20)) < 0.1
    there = page(net, recordings=(x, [1]))
    there.answer("live.take(live.samples[0])")
    there.check_spikes(net, x)
    check(there, net, x, 1, 1)
    check(there, net, x, 3, 2)


def test_the_table_names_the_parts(there, tmp_path):
    net = cs.Sequential(cs.Dense(2, 1), Izhikevich())
    net[0].weight.data[:] = [[150.0], [-4.0]]
    x = np.zeros((20, 1, 2), bool)
    x[0, 0, 0] = x[[8, 12], 0, 1] = True
    there.open(cs.write_report(net, x, tmp_path / "report.html"))
    there.run("choose(1, 0, 15); 0")
    rows = there.run("[...$('parts').tBodies[0].rows].map((row) => row.cells[0].textContent)")
    why = cs.explain(net, x, 1, 0, 15)
    assert why.refractory_spikes
    assert rows == ["input 1", "refraction", "rest", "not explained", "u"]
    assert [part.name for part in why.parts()] == rows[:-1]
