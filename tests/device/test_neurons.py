"""Neurons with states, alone and recurrent, read-outs and every surrogate, on a device against the CPU."""

import itertools

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.functions import leaky_integral
from cuslayer.surrogates import SURROGATES
from cuslayer.training import Trainer
from tests.device.test_operations import device as device
from tests.device.test_operations import module, normal, run
from tests.support.kinds import Resting

TAUS = np.linspace(2.0, 9.0, 5)
LEAKY = {
    "LIF": lambda **options: cs.LIF(TAUS, theta=2.0, **options),
    "CUBA": lambda **options: cs.CUBA(3.0, TAUS, theta=2.0, reset="subtract", **options),
    "AdaptiveLIF": lambda **options: cs.AdaptiveLIF(3.0, TAUS, 20.0, 4.0, rise=0.3, theta=2.0, **options),
    "Resting": lambda **options: Resting(tau=TAUS, theta=2.0, **options),
}
TRAINED = LEAKY | {
    "ResonateAndFire": lambda **options: cs.neurons.ResonateAndFire(
        TAUS, 50 * TAUS, theta=2.0, reset="zero", **options
    ),
    "AdLIF": lambda **options: cs.AdLIF(2 * TAUS + 3, 100.0, TAUS / 9, theta=0.3, **options),
    "BalancedResonateAndFire": lambda **options: cs.neurons.BalancedResonateAndFire(
        50 * TAUS, **{"theta": 0.005, "scale_rho": 1e-3, **options}
    ),
    "NormalizedALIF": lambda **options: cs.neurons.NormalizedALIF(TAUS, 20.0, theta=0.5, **options),
}
NEURONS = TRAINED | {
    "SampledSRM": lambda **options: cs.neurons.SampledSRM(
        [1.0, 0.8, -0.2, 0.4], [0.0, -9.0, -5.0, 1.0], theta=5.0, **options
    )
}
RECURRENT = {"SRM": lambda **options: cs.SRM(theta=2.0, tau_sr=3.0, **options), **LEAKY, "AdLIF": TRAINED["AdLIF"]}
USUAL = (40, 2, 5)
KINDS = [*NEURONS, *(f"recurrent {kind}" for kind in RECURRENT)]


def population(kind, dtype="float32", delay=1.0, **options):
    cs.seed(4)
    found = cs.Recurrent(cs.Dense(5, 5, weight_scale=2.0), RECURRENT[kind](**options), delay=delay)
    found.layer.weight.data = found.layer.weight.data.astype(dtype)
    return found


# Each pair of a gradient and a type is compiled anew; sizes are not.
USES = [
    *((gradient, "float32", USUAL) for gradient in ("slayer", "exact", "eventprop")),
    *(("exact", "float64", shape) for shape in (USUAL, (1, 1, 5), (0, 2, 5), (40, 0, 5))),
]


@pytest.mark.parametrize(("gradient", "dtype", "shape"), USES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_spikes_are_the_cpus_to_the_bit(kind, gradient, dtype, shape):
    if (kind, gradient) == ("SampledSRM", "eventprop"):
        pytest.skip("samples have no step")
    arrays, neuron, recurrent = [normal(*shape, scale=2).astype(dtype)], kind.split()[-1], " " in kind

    def with_scale(x, scale):
        made = population(neuron, dtype, 2.0, gradient=gradient, scale_rho=0.2)
        made.layer.weight_hook = lambda w: w * scale
        return made(x)

    if recurrent:
        operation, arrays = with_scale, [*arrays, np.ones((5, 5), dtype)]
    else:
        operation = NEURONS[kind](gradient=gradient)
    (s, *grads), (spikes, *expected) = (run(where, operation, arrays) for where in ("cuda", "cpu"))
    assert (s == spikes).all()
    assert spikes.any() or shape != USUAL
    for mine, other in zip(grads, expected, strict=True):
        assert mine.dtype == other.dtype == np.dtype(dtype)
        if recurrent:
            bound = {"float32": 1e-4, "float64": 1e-10}[dtype] * max(1.0, abs(other).max(initial=0))
        else:
            bound = {"float32": 1e-6 if kind == "SampledSRM" else 1e-5, "float64": 1e-12}[dtype]
        np.testing.assert_allclose(mine, other, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", [*TRAINED, *(f"recurrent {kind}" for kind in LEAKY)])
def test_time_constants_are_trained_and_states_kept(kind):
    found, x, name, recurrent = [], normal(30, 2, 5, scale=2).astype(np.float32), kind.split()[-1], " " in kind
    for where in ("cuda", "cpu"):
        cs.use(where)
        if recurrent:
            made = population(name, trained=True, stateful=True, gradient="exact", scale_rho=0.2)
        else:
            made = TRAINED[name](trained=True, stateful=True, graded=True, gradient="exact")
        out = [made(backend.to_device(part)) for part in (x[:9], x[9:])]
        assert module(out[-1].data) == ("cupy" if where == "cuda" else "numpy")
        out[-1].backward(backend.to_device(np.ones(out[-1].shape, np.float32)))
        found.append([backend.to_numpy(a) for a in (*(y.data for y in out), *(p.grad for p in made.parameters()))])
    assert len(found[0]) == 2 + recurrent + len(TRAINED[name]().time_constants)
    for mine, other in zip(*found, strict=True):
        assert mine.shape == other.shape
        rtol, atol = (1e-3, 1e-4 * max(1.0, abs(other).max())) if recurrent else (1e-4, 1e-5)
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "Resting" not in kind])  # which no explanation takes apart
def test_a_network_is_recorded_and_explained(kind):
    found, recurrent = [], " " in kind
    x = np.random.default_rng(0).random((30, 2, 6)) < 0.4
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(1)
        dense, neuron = cs.Dense(6, 5, weight_scale=6.0), (NEURONS | RECURRENT)[kind.split()[-1]]()
        net = cs.Sequential(dense, cs.Recurrent(cs.Dense(5, 5), neuron) if recurrent else neuron)
        with cs.record(net, window=(5, 25)) as seen:
            cs.SpikeCountLoss(net[1], true=9, false=2)(net(x), [0, 2]).backward()
        why = cs.explain(net, x, 1, 0, 20)
        assert why.exact
        if recurrent:
            assert [source.layer for source in why.sources] == ["input", "layer 1 (Dense(6, 5), Recurrent)"]
        names = "potential", "spikes", *(["recurrent"] if recurrent else ["refractory"] * (kind == "SampledSRM"))
        found.append((*(getattr(seen[1], name).values for name in names), why.potential, why.filtered))
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


CHUNKED = {
    "CUBA": cs.CUBA,
    "SampledSRM": lambda: NEURONS["SampledSRM"](gradient="exact"),
    "SRM": lambda: cs.SRM(gradient="exact"),
    "SRM of images": lambda: cs.SRM(theta=1.0),
    "recurrent CUBA": lambda: population("CUBA", delay=3.0),
    "recurrent AdLIF": lambda: population("AdLIF", trained=True, gradient="exact"),
    "recurrent SRM": lambda: population("SRM"),
    "recurrent images": lambda: cs.Recurrent(
        cs.Conv(4, 4, (3, 1), padding=(2, 0), dilation=(2, 1), groups=2), cs.SRM(theta=1.0), delay=2.0
    ),
    "recurrent delays": lambda: cs.Recurrent(cs.Dense(5, 5, delays=cs.SynapticDelays(4.0)), cs.LIF()),
}


@pytest.mark.parametrize(
    ("kind", "options"),
    [*itertools.product(CHUNKED, ({"truncate": 7}, {"recompute": 7})), ("recurrent images", {})],
)
def test_chunks_of_time_are_the_cpus(kind, options):
    """With delays and dropout beside neurons of which states are kept."""
    make, images, runs = CHUNKED[kind], "images" in kind, []
    data = np.random.default_rng(0).random((18, 2, *((6, 6, 1) if images else (6,)))) < 0.4, np.array([0, 2])
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(1)
        stages = (
            cs.Dense(6, 5, weight_scale=10.0),
            make(),
            cs.Delay(5, dt=1.0, initial=3.0),
            cs.Dropout(0.0),
            cs.ReadOut(5, 3),
        )
        if kind == "recurrent images":
            stages = cs.Conv(1, 4, 3, weight_scale=20.0), make(), cs.ReadOut((4, 4, 4), 3)
        elif images:
            first, last = cs.Conv(1, 2, 3, weight_scale=20.0), cs.Conv(2, 3, 2, weight_scale=20.0)
            stages = first, make(), cs.SumPool(2, gain=1.1), make(), last, make(), cs.ReadOut(3, 3)
        net = cs.Sequential(*stages)
        optimizer = cs.SGD(net.parameters(), 0.1, clip_norm=0.01)
        t = Trainer(net, cs.CrossEntropyLoss("max"), optimizer, calibrate=None, **options)
        runs.append((t.train([data]).loss, *(backend.to_numpy(p.grad) for p in net.parameters() if p.grad is not None)))
    assert all(np.any(g) for g in runs[1][1:3])
    for mine, other in zip(*runs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_growth_is_noted_on_a_device():
    """As on the CPU, and the scale that `calibrate` finds is the same."""
    x, found = np.random.default_rng(0).random((60, 2, 6)) < 0.2, []
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(1)
        net = cs.Sequential(cs.Dense(6, 5), cs.Recurrent(cs.Dense(5, 5), cs.LIF(scale_rho=1.0)))
        cs.calibrate(net, [x])
        found.append(backend.to_numpy(net[1].layer.weight.data).copy())
        net[1].layer.weight.data *= 20
        t = Trainer(net, cs.SpikeCountLoss(cs.LIF(), true=9, false=2), cs.SGD(net.parameters(), 0.1))
        with pytest.warns(UserWarning, match="gradients grow by more than 1,000 through time in layer 1"):
            t.train([(x, np.array([0, 2]))])
    np.testing.assert_array_equal(*found)


def test_the_current_of_loihis_neurons_is_the_cpus():
    neuron, x = cs.Loihi(first_bin=False), np.rint(normal(30, 2, 4, scale=50)).astype(np.float32)
    found = neuron.current(backend.to_device(x))
    assert module(found) == "cupy"
    np.testing.assert_array_equal(backend.to_numpy(found), neuron.current(x))


@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate(name):
    neurons = [
        cs.SRM(theta=2.0, gradient="slayer", surrogate=name),
        cs.neurons.SampledSRM([1.0, 0.5], [0.0, -3.0], theta=2.0, gradient="exact", surrogate=name),
        cs.LIF(gradient="exact", surrogate=name),
        cs.Loihi(vth_mant=2, surrogate=name),
    ]
    for neuron in neurons:
        x = normal(20, 2, 5, scale=2).astype(np.float32)
        (s, g), (spikes, expected) = (run(where, neuron, [x]) for where in ("cuda", "cpu"))
        assert (s == spikes).all()
        np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-5 * max(1.0, abs(expected).max()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 2, 5), (1, 1, 1), (7, 3, 150)])
def test_the_integral_of_a_read_out_has_the_bits_of_the_cpu(shape, dtype):
    x, keep = normal(*shape).astype(dtype), np.random.default_rng(17).random(shape[-1]).astype(dtype)
    here, there = (run(where, leaky_integral, [x, keep]) for where in ("cuda", "cpu"))
    for name, mine, other in zip(("y", "g_x", "g_keep"), here, there, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=0 if name != "g_keep" else 1e-5, err_msg=name)


def test_a_network_with_a_read_out():
    x, labels, found = np.random.default_rng(17).random((20, 4, 6)) < 0.3, np.array([0, 2, 1, 1]), {}
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(4)
        net = cs.Sequential(cs.Dense(6, 8, bias=True), cs.SRM(), cs.ReadOut(8, 3, trained=True, bias=True))
        value = cs.CrossEntropyLoss()(net(x), labels)
        value.backward()
        found[where] = [backend.to_numpy(net(x).data), *(backend.to_numpy(p.grad) for p in net.parameters())]
    for mine, other in zip(found["cuda"], found["cpu"], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
