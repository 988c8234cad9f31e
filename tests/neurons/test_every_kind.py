"""Every kind that is written as a step, in a network: recorded, explained, streamed, saved and named; it learns."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import on_potential
from cuslayer.neurons.names import make_neuron, neuron_constants
from tests.neurons.test_own_neuron import LIF as Own
from tests.neurons.test_published_kinds import KINDS as PUBLISHED
from tests.neurons.test_published_kinds import drawn
from tests.support.kinds import Offset, Quadratic, Resting
from tests.support.refused import refuses

pytestmark = pytest.mark.all


def published(kind, spread, generator, **options):
    options = {"theta": 0.15} | options if kind == "AdLIF" else options
    return drawn(kind, spread, generator, **options)


KINDS = {
    **{
        f"LIF {reset}": lambda spread, g, reset=reset, **o: cs.LIF(g.uniform(2, 9, spread), reset=reset, **o)
        for reset in ("zero", "subtract", None)
    },
    "CUBA": lambda spread, g, **o: cs.CUBA(*g.uniform(2, 9, (2, *spread)), **o),
    "IF": lambda spread, g, **o: cs.neurons.IF(g.uniform(0.5, 2, spread), **o),
    "AdaptiveLIF": lambda spread, g, **o: cs.AdaptiveLIF(*g.uniform(2, 9, (4, *spread)), rise=0.2, **o),
    **{
        f"ResonateAndFire {reset}": lambda spread, g, reset=reset, **o: cs.neurons.ResonateAndFire(
            g.uniform(5, 20, spread), g.uniform(10, 80, spread), reset, **o
        )
        for reset in ("izhikevich", "zero", "subtract", None)
    },
    **{kind: lambda spread, g, kind=kind, **o: published(kind, spread, g, **o) for kind in PUBLISHED},
}


# The kinds that are no step, and own neurons, with their defaults.
OTHERS = {
    **{"SRM": cs.SRM, "SRM arctan": lambda: cs.SRM(surrogate="arctan"), "Loihi": cs.Loihi},
    "SampledSRM": lambda: cs.neurons.SampledSRM(np.exp(-np.arange(20) / 5), [0, -1.0, -0.5], theta=1.0),
    "SigmaDelta": cs.neurons.SigmaDelta,
    "SigmaDelta of a signal": lambda: cs.neurons.SigmaDelta(sums=False, activation=None, gradient="exact"),
    "own": Quadratic,
    "own with a start": Resting,
    "own with a spike as a state": lambda: Offset(level=np.linspace(0.1, 0.4, 3)[:1]),
    "own without a step": Own,
    "graded": lambda: cs.LIF(graded=True),
    "eventprop": lambda: cs.LIF(gradient="eventprop"),
    "SRM eventprop": lambda: cs.SRM(gradient="eventprop"),
}
DEFAULTS = [
    cs.LIF,
    cs.CUBA,
    cs.AdaptiveLIF,
    cs.neurons.ResonateAndFire,
    cs.AdLIF,
    cs.neurons.IF,
    cs.neurons.BalancedResonateAndFire,
    cs.neurons.NormalizedALIF,
]
OTHERS |= {kind.__name__: kind for kind in DEFAULTS}
LOSSES = {
    **{kind.__name__: kind for kind in (cs.loss.SpikeRateLoss, cs.loss.SpikeMaxLoss, cs.loss.ProbabilityWindowLoss)},
    "FirstSpikeLoss": cs.loss.FirstSpikeLoss,
    "SpikeCountLoss": lambda neuron: cs.SpikeCountLoss(neuron, true=10, false=2),
    "SpikeTimeLoss": cs.SpikeTimeLoss,
    "CrossEntropyLoss": lambda neuron: cs.CrossEntropyLoss(dt=neuron.dt),
    "BinaryCrossEntropyLoss": lambda neuron: cs.BinaryCrossEntropyLoss(dt=neuron.dt),
    "MeanSquaredErrorLoss": lambda neuron: cs.loss.MeanSquaredErrorLoss(dt=neuron.dt),
    "SparsityLoss": lambda neuron: cs.network.SparsityLoss(cs.SpikeCountLoss(neuron, true=10, false=2), weight=1e-6),
}


# Few inputs of so small a network have spikes, so a rate that a loss desires may be out of reach.
@pytest.mark.filterwarnings("error", "ignore:calibrate. not all neurons fire at the rate")
@pytest.mark.parametrize("kind", OTHERS)
def test_it_trains_by_default_with_every_loss(kind):
    """As README's ten lines, with a small network."""
    generator = np.random.default_rng(0)
    x, labels = generator.random((40, 6, 4, 4, 2)) < 0.2, np.arange(6) % 3
    targets = {
        "SpikeTimeLoss": generator.random((40, 6, 3)) < 0.2,
        "BinaryCrossEntropyLoss": np.eye(3)[labels],
        "MeanSquaredErrorLoss": np.eye(3)[labels],
    }
    for name, make in LOSSES.items():
        cs.seed(0)
        net = cs.Network("4x4x2-8-3", OTHERS[kind]())
        batch = x, targets.get(name, labels)
        trainer = cs.Trainer(net, make(net[1]), cs.Adam(net.parameters(), lr=0.1, relative=True, warmup=3))
        trainer.prepare([batch])
        weights = [p.data.copy() for p in net.parameters()]
        for score in (trainer.train([batch] * 2), trainer.test([batch])):
            assert np.isfinite(score.loss), name
        assert all((p.data != before).any() for p, before in zip(net.parameters(), weights, strict=True)), name
    neuron, loss = net[1], LOSSES["SpikeCountLoss"](net[1])
    assert abs(cs.calibrate(net, [batch[0]], rate=100.0 / neuron.dt).layers[0].rate) > 10.0 / neuron.dt
    assert len(cs.diagnose(net, [(x, labels)], loss=loss).layers) == 2
    if neuron.parts == "none":
        with pytest.raises(TypeError, match=r"^explain: .* whose potential is no sum over spikes$"):
            cs.explain(net, x, layer=1, index=0, time=20)
    else:
        assert cs.explain(net, x, layer=1, index=0, time=20).parts()
    out = cs.Sequential(net[0], neuron, read_out := cs.ReadOut(8, 3, neuron=neuron))(x)
    cs.CrossEntropyLoss(dt=neuron.dt)(out, labels).backward()
    np.testing.assert_allclose(
        out.data, neuron.psp(neuron(net[0](x)) @ read_out.weight).data, rtol=0, atol=1e-4 * abs(out.data).max()
    )


@pytest.mark.parametrize("sums", [False, True])
def test_the_receivers_of_sigma_delta_neurons_sum_its_output(sums):
    neuron, x = cs.neurons.SigmaDelta(theta=0.5, sums=sums), np.random.default_rng(0).normal(0, 1, (200, 2, 3))
    y = neuron(x).data
    np.testing.assert_allclose(neuron.psp(y).data, y.cumsum(axis=0) if sums else y, atol=1e-9)
    assert (neuron.peak, neuron.columns, neuron.step_by_step, neuron.one_pass) == (1.0, {}, None, None)


def network(kind, spread=(), **options):
    cs.seed(2)
    neuron = KINDS[kind](spread, np.random.default_rng(13), **options)
    scale = {"BalancedResonateAndFire": 100.0, "NormalizedALIF": 15.0, "AdLIF": 9.0}.get(kind, 2.0)
    net = cs.Sequential(
        *(cs.Dense(10, 8, weight_scale=scale), neuron),
        *(cs.Dense(8, 3, weight_scale=6 * scale), KINDS[kind]((), np.random.default_rng(3), **options)),
    )
    return net, np.random.default_rng(0).random((40, 6, 10)) < 0.25, np.arange(6) % 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [(), (8,)], ids=str)
def test_recorded_and_explained(kind, spread):
    net, x, labels = network(kind, spread)
    with cs.record(net) as seen:
        out = net(x)
        out.backward(np.ones(out.shape, np.float32))
    potential = seen[1].potential.values
    np.testing.assert_array_equal(seen[1].spikes.values, potential >= np.float32(net[1].theta))
    np.testing.assert_allclose(seen[1].surrogate.values, net[1].surrogate(potential))
    assert seen[1].weighted_error.values.any()
    fired = np.argwhere(seen[1].spikes.values)[::20].tolist()
    assert fired
    for time, sample, neuron in [*fired, [39, 0, 0], [25, 1, 3]]:
        why = cs.explain(net, x, layer=1, index=neuron, time=time, sample=sample)
        assert why.exact
        assert sum(part.size for part in why.parts()) == pytest.approx(potential[time, sample, neuron], abs=1e-4)
    assert cs.diagnose(net, [(x, labels)]).layers


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_and_saved_and_named(kind, tmp_path):
    net, x, _ = network(kind, (8,), trained=True, surrogate="arctan")
    for p in net[1].parameters():
        p.data *= np.float32(0.99)
    out = net(x).data
    assert out.any()
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:3]), stream(x[3:])]), out)
    cs.save(net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(again(x).data, out)
    for p, q in zip(net[1].parameters(), again[1].parameters(), strict=True):
        assert (p.least, p.most) == (q.least, q.most)
    constants = neuron_constants(net[1])
    named = make_neuron("net: neuron.", constants, net[1].dt)
    assert neuron_constants(named) == constants
    assert repr(named) == repr(net[1])


@pytest.mark.parametrize("kind", [*KINDS, "SigmaDelta"])
def test_a_state_is_kept_between_calls_when_asked(kind):
    def neuron(**options):
        if kind == "SigmaDelta":
            return cs.neurons.SigmaDelta(theta=0.4, gradient="exact", **options)
        return KINDS[kind]((), np.random.default_rng(5), trained=True, gradient="exact", **options)

    whole, kept = neuron(), neuron(stateful=True)
    size = PUBLISHED[kind][2] if kind in PUBLISHED else 2 * whole.theta
    x = (size * np.random.default_rng(1).normal(0.3, 1, (30, 2, 4))).astype(np.float32)
    expected = whole(x).data
    assert expected.any()
    parts = x[:7], x[7:7], x[7:]
    np.testing.assert_array_equal(np.concatenate([kept(part).data for part in parts]), expected)
    with refuses(f"{type(kept).__name__}: x must have 8 neurons as in the last call"):
        kept(np.zeros((3, 3, 4)))
    kept.forget()
    np.testing.assert_array_equal(kept(x).data, expected)
    assert whole.held is None


# The response of an IF neuron does not fall.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "IF"])
@pytest.mark.parametrize("seed", range(3, 8))
def test_its_response_is_the_potential_after_a_small_input(kind, seed):
    neuron, seen, x = KINDS[kind]((), np.random.default_rng(seed)), [], np.zeros((4000, 1, 1))
    x[0] = 1e-3
    with on_potential(lambda u: seen.append(u.values[:, 0, 0] / 1e-3)):
        assert not neuron(x).data.any()
    found = neuron.response
    np.testing.assert_allclose(found, seen[0][: len(found)], rtol=0, atol=1e-12 * neuron.peak)
    cut = 0.03 if kind.startswith("ResonateAndFire") else 0.0101  # an envelope decides where it ends
    assert abs(seen[0][len(found) :]).max() < cut * abs(found).max()
