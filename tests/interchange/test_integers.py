"""Integer twins: close to their network, exact in C, and honest about what moved."""

import re
import shutil
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import on_potential
from cuslayer.interchange import compare_twin, quantize
from cuslayer.interchange.integers.fixed import Factor, shifted
from cuslayer.layers import IntegerWeight, Unpool
from tests.interchange.test_export_c import Exponential, check_equal, compiled

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def spikes(*shape, steps=80, samples=2, rate=0.2):
    return np.random.default_rng(0).random((steps, samples, *shape)) < rate


def dense(inputs, outputs, **options):
    return cs.Dense(inputs, outputs, weight_scale=12.0, **options)


NEURONS = {
    "LIF": lambda: cs.LIF(tau=np.linspace(3.0, 20.0, 10)),
    "subtract": lambda: cs.LIF(reset="subtract"),
    "CUBA": cs.CUBA,
    "SRM": lambda: cs.SRM(theta=3.0),
    "AdLIF": lambda: cs.AdLIF(theta=0.1),
    "AdaptiveLIF": cs.AdaptiveLIF,
    "ResonateAndFire": cs.neurons.ResonateAndFire,
    "NormalizedALIF": lambda: cs.neurons.NormalizedALIF(theta=0.1),
}


@needs_gcc
@pytest.mark.all
@pytest.mark.parametrize("states", [16, 32])
@pytest.mark.parametrize("kind", NEURONS)
def test_a_twin_of_each_kind_equals_its_c_and_nearly_its_network(kind, states, tmp_path):
    cs.seed(1)
    net = cs.Sequential(
        dense(40, 10, bias=True),
        NEURONS[kind](),
        dense(10, 10),
        cs.Recurrent(dense(10, 10), NEURONS[kind](), delay=2.0),
        cs.ReadOut(10, 3, bias=True),
    ).eval()
    x = spikes(40)
    twin = quantize(net, x, states=states)
    assert compare_twin(net, twin, x).moved[0].share < 0.15
    check_equal(twin, x[:, 0], tmp_path)


@needs_gcc
@pytest.mark.all
def test_twins_of_images_equal_their_c(tmp_path):
    cs.seed(0)
    norm = cs.BatchNorm(6, trained=True)
    norm.mean.data[...] = np.linspace(-1, 1, 6)
    norm.var.data[...] = np.linspace(0.3, 3, 6)
    net = cs.Sequential(
        cs.Conv(2, 6, 3, padding=1, weight_scale=9.0, bias=True),
        norm,
        cs.LIF(),
        cs.SumPool(2, gain=1.1),
        cs.LIF(),
        cs.ConvTranspose(6, 4, 3, stride=2, groups=2, weight_scale=9.0),
        cs.LIF(),
        cs.MaxPool(2),
        Unpool(2, gain=0.7, stride=1),
        cs.LIF(),
        cs.Conv(4, 4, 3, groups=2, weight_scale=9.0, delays=cs.SynapticDelays(3.0)),
        cs.Recurrent(cs.Conv(4, 4, 3, padding=1), cs.LIF()),
        cs.Delay(4, dt=1.0, max_delay=5.0, initial=5.0),
        cs.Dense((3, 4, 4), 5, weight_scale=9.0),
        cs.LIF(),
    ).eval()
    x = spikes(8, 9, 2)
    check_equal(quantize(net, x), x[:, 0], tmp_path)


def test_weights_are_integers_and_their_scale_is_of_a_channel():
    cs.seed(0)
    net = cs.Sequential(dense(40, 5), cs.LIF()).eval()
    net[0].weight.data[:, 2] *= 100.0
    x = spikes(40)
    twin = quantize(net, x, weights=4)
    whole = twin[0].weight.data
    np.testing.assert_array_equal(whole, np.rint(whole))
    np.testing.assert_array_equal(np.abs(whole).max(axis=0), np.full(5, 7.0))
    scale = twin[1].factor.mantissa * 2.0 ** -(twin[1].factor.shift + twin[1].step.fraction)
    weight = net[0].weight.data
    assert (np.abs(whole * scale - weight) <= np.abs(weight).max(axis=0) / 13.9).all()


def test_states_saturate_and_do_not_wrap():
    net = cs.Sequential(cs.Dense(1, 1), cs.LIF(tau=1e6, theta=1e9)).eval()
    net[0].weight.data[...] = 1.0
    quiet = np.zeros((10, 1, 1), bool)
    quiet[0] = True
    twin = quantize(net, quiet, states=16)
    found = []
    with on_potential(found.append):
        twin(np.ones((1000, 1, 1), bool))
    u = found[0].values.ravel()
    assert (np.diff(u) >= 0).all()
    assert 2 < u[-1] < 6


def test_the_twin_leaves_the_network_and_streams_as_it_runs():
    cs.seed(0)
    net = cs.Sequential(dense(40, 9), cs.CUBA(), dense(9, 4), cs.SRM(theta=3.0)).eval()
    before = {name: array.copy() for name, array in net.state().items()}
    x = spikes(40)
    twin = quantize(net, x)
    stream = twin.stream()
    parts = np.concatenate([stream(x[:13]), stream(x[13:14]), stream(x[14:])])
    np.testing.assert_array_equal(parts, twin(x).data)
    assert parts.any()
    for name, array in net.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_trained_integers_are_those_of_the_twin():
    """The hook's effective weight is the twin's integers times their scale; training moves weights through it."""
    cs.seed(0)
    net = cs.Sequential(cs.Dense(8, 4, weight_scale=3.0, weight_hook=IntegerWeight(3)), cs.LIF())
    x = spikes(8)
    effective = net[0].effective_weight()
    effective.sum().backward()
    np.testing.assert_array_equal(net[0].weight.grad, np.ones((8, 4)))
    twin = quantize(net, x, weights=3)
    scale = np.abs(net[0].weight.data).max(axis=0) / 3
    np.testing.assert_allclose(effective.data, twin[0].weight.data * scale, rtol=1e-6)
    with pytest.raises(ValueError, match="one layer"):
        cs.Dense(8, 4, weight_hook=net[0].weight_hook)


def test_trained_integers_of_read_outs_and_recurrent_synapses_are_those_of_the_twin():
    cs.seed(0)
    net = cs.Sequential(
        dense(8, 6),
        cs.Recurrent(cs.Dense(6, 6, weight_hook=IntegerWeight(3)), cs.LIF()),
        cs.ReadOut(6, 4, weight_hook=IntegerWeight(3)),
    )
    twin = quantize(net, spikes(8), weights=3)
    for layer, whole in ((net[1].layer, twin[1].layer), (net[2], twin[2].dense)):
        scale = np.abs(layer.weight.data).max(axis=0) / 3
        np.testing.assert_allclose(layer.effective_weight().data, whole.weight.data * scale, rtol=1e-6)


def test_a_comparison_finds_the_first_spike_that_differs():
    cs.seed(0)
    net = cs.Sequential(dense(40, 30), cs.LIF(), dense(30, 5), cs.LIF()).eval()
    x = spikes(40, steps=200)
    found = compare_twin(net, quantize(net, x, weights=4), x)
    first = found.first
    own = net[:2](x).data
    twin = quantize(net, x, weights=4)[:2](x).data
    step, sample, neuron = (int(axis[0]) for axis in np.nonzero(own != twin))
    assert (first.layer, first.step, first.sample, first.neuron) == ("1 LIF", step, sample, neuron)
    assert (first.potential >= first.theta) == own[step, sample, neuron] != (first.of_twin >= first.theta)
    assert found.moved[0].moved == (own != twin).sum()
    assert str(found.moved[0].moved) in str(found)


@pytest.mark.parametrize(
    ("layers", "options", "why"),
    [
        (lambda: [cs.Conv(2, 2, 1), cs.layers.KWinners(3), cs.LIF()], {}, "it has no integer form"),
        (lambda: [cs.Conv(2, 2, 1), cs.LIF(), cs.Delay(2, dt=1.0, mode="linear")], {}, "are not whole steps"),
        (lambda: [cs.AvgPool(2), cs.Conv(2, 2, 1), cs.Loihi()], {}, "its neurons take weights of spikes only"),
        (lambda: [cs.SumPool(2, gain=1.0, weight_hook=lambda w: 2 * w), cs.LIF()], {}, "its taps differ"),
        (lambda: [cs.AvgPool(2), cs.layers.Average(2)], {}, "it takes numbers"),
        (lambda: [cs.Conv(2, 2, 1), *(Unpool(90, gain=0.1, stride=1, padding=44) for _ in range(4))], {}, "46 bits"),
        (lambda: [cs.Parallel(cs.AvgPool(2), cs.AvgPool(2), join="and")], {}, "it joins numbers by 'and'"),
        (lambda: [cs.Conv(2, 2, 1), Exponential()], {}, "its step calls"),
        (lambda: [cs.Conv(2, 2, 1), cs.LIF()], {"weights": 9}, "weights must be 2 to 8 bits"),
        (lambda: [cs.Conv(2, 2, 1), cs.LIF()], {"states": 8}, "states must be 16 or 32"),
        (lambda: [cs.Conv(2, 2, 1), cs.LIF(graded=True)], {}, "fire spikes"),
    ],
)
def test_what_has_no_integers_is_refused(layers, options, why):
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        quantize(cs.Sequential(*layers()).eval(), spikes(4, 4, 2), **options)
    assert "\n" not in str(caught.value)


def test_a_twin_has_no_twin():
    for x in (spikes(3), spikes(3).astype(np.float32)):
        twin = quantize(cs.Sequential(cs.Dense(3, 2), cs.LIF()), x)
        with pytest.raises(ValueError, match="net must be in float, got an integer twin; quantize the network"):
            quantize(twin, x)


def test_a_twin_of_spikes_takes_no_numbers_in_c(tmp_path):
    twin = quantize(cs.Sequential(cs.Dense(3, 2), cs.LIF()), spikes(3))
    with pytest.raises(ValueError, match="its integers take spikes; quantize with a recording of numbers"):
        cs.export_c(twin, tmp_path / "net", recording=np.ones((4, 1, 3), np.float32))


def test_a_factor_is_the_nearest_of_its_bits():
    rng = np.random.default_rng(0)
    for value in (*rng.uniform(-4, 4, 200), 1.0, 0.5, 0.0, 32767.0, 1e-9):
        factor = Factor.of(value)
        assert abs(int(factor.mantissa)) <= 32767
        exact = Fraction(int(factor.mantissa)) / Fraction(2) ** factor.shift
        assert abs(exact - Fraction(float(value))) <= Fraction(1, 2) / Fraction(2) ** factor.shift
    numbers = np.arange(-9, 10)
    np.testing.assert_array_equal(shifted(numbers, 1), np.floor(numbers / 2 + 0.5))
    np.testing.assert_array_equal(shifted(numbers, -2), numbers * 4)


@dataclass(frozen=True, eq=False, repr=False)
class Quadratic(cs.StepNeuron):
    """A step that multiplies two of its values; a state that no step reads, and a name of the file's own."""

    tau: float = 10.0
    theta: float = 1.0
    decays: ClassVar[dict[str, str]] = {"d": "tau"}
    states: ClassVar[tuple[str, ...]] = ("index", "unread")

    def step(c, d, index, unread, x):  # type: ignore[no-untyped-def]
        u = max(d * index + x - 0.1 * index * index, -3.0)
        if (index > 0 and x > 0) or index < -9:
            u = u + 0.25
        s = u >= c.theta
        return (0.0 if s else u), x, u, s


@needs_gcc
@pytest.mark.all
@pytest.mark.parametrize("states", [16, 32])
def test_products_of_values_do_not_overflow(states, tmp_path):
    cs.seed(0)
    net = cs.Sequential(dense(8, 6), Quadratic()).eval()
    x = spikes(8, rate=0.4)
    check_equal(
        quantize(net, x, states=states), x[:, 0], tmp_path, "-O1", "-fsanitize=undefined", "-fno-sanitize-recover"
    )


def test_a_layer_with_two_places_has_one_scale():
    cs.seed(0)
    layer = dense(9, 9)
    net = cs.Sequential(layer, cs.LIF(), layer, cs.LIF()).eval()
    x = spikes(9, rate=0.4)
    assert all(moved.share < 0.1 for moved in compare_twin(net, quantize(net, x), x).moved)
    with pytest.raises(ValueError, match="must take its sums"):
        quantize(cs.Sequential(cs.Parallel(cs.Sequential(dense(9, 9), cs.Parallel(cs.Loihi(), cs.LIF())))), x)


@needs_gcc
@pytest.mark.all
def test_loihi_has_rounded_weights_only(tmp_path):
    cs.seed(0)
    net = cs.Sequential(dense(40, 30), cs.Loihi(), cs.Dense(30, 5, weight_scale=300.0), cs.Loihi()).eval()
    x = spikes(40, rate=0.4)
    twin = quantize(net, x)
    np.testing.assert_array_equal(twin[2].weight.data, 2 * np.rint(net[2].weight.data / 2))
    check_equal(twin, x[:, 0], tmp_path)


def numbers(*shape, steps=80, samples=2):
    return np.random.default_rng(0).standard_normal((steps, samples, *shape)).astype(np.float32)


def normalized(features):
    norm = cs.BatchNorm(features, trained=True)
    norm.mean.data[...] = np.linspace(-1, 1, features)
    norm.var.data[...] = np.linspace(0.3, 3, features)
    return norm


def conv(inputs, outputs, **options):
    return cs.Conv(inputs, outputs, 3, padding=1, weight_scale=6.0, **options)


FRAME = (6, 7, 2)
# Recordings, and layers that take or send numbers.
OF_NUMBERS = {
    "analog recordings": (
        numbers(40),
        lambda: [
            cs.Delay(40, dt=1.0, max_delay=5.0, initial=5.0),
            cs.Dense(40, 20, weight_scale=3.0, bias=True, delays=cs.SynapticDelays(3.0)),
            cs.LIF(),
            dense(20, 6),
            cs.LIF(),
        ],
    ),
    "images": (
        numbers(*FRAME),
        lambda: [conv(2, 6), normalized(6), cs.LIF(), cs.AvgPool(2), conv(6, 4), cs.LIF(), cs.GlobalAvgPool()],
    ),
    "still images": (
        np.repeat(np.random.default_rng(0).random((1, 2, *FRAME), np.float32), 12, axis=0),
        lambda: [cs.Sequential(conv(2, 6), normalized(6)), cs.LIF(tau=2.0), conv(6, 4), cs.LIF(tau=2.0)],
    ),
    "pooled images": (
        numbers(*FRAME),
        lambda: [
            cs.MaxPool(2),
            cs.SumPool(2, gain=0.3, stride=1),
            cs.ConvTranspose(2, 4, 3, stride=2, weight_scale=3.0),
            cs.AvgPool(2),
            Unpool(2, gain=1.5),
            cs.LIF(),
            cs.ReadOut((4, 4, 4), 3, tau=5.0),
        ],
    ),
    "currents": (numbers(20), lambda: [cs.LIF(), dense(20, 5), cs.LIF()]),
    "mean pooling": (
        spikes(*FRAME),
        lambda: [cs.AvgPool(3, stride=1), conv(2, 4, bias=True), cs.MaxPool(2), normalized(4), cs.LIF()],
    ),
    "added spikes": (
        spikes(40),
        lambda: [dense(40, 30), cs.LIF(), cs.Residual(dense(30, 30), cs.LIF()), dense(30, 5), cs.LIF()],
    ),
    "added sums": (
        spikes(*FRAME),
        lambda: [
            conv(2, 4),
            cs.LIF(),
            cs.Residual(conv(4, 4, bias=True), normalized(4), shortcut=cs.Conv(4, 4, 1, weight_scale=3.0)),
            cs.LIF(),
        ],
    ),
    "sums that pass by": (
        numbers(*FRAME),
        lambda: [conv(2, 4), *(cs.Residual(cs.LIF(), conv(4, 4)) for _ in range(2)), cs.GlobalAvgPool()],
    ),
    "joined channels": (
        spikes(*FRAME),
        lambda: [
            cs.Parallel(
                cs.Sequential(conv(2, 3), cs.LIF()),
                cs.Sequential(cs.AvgPool(3, stride=1, padding=1)),
                cs.Sequential(conv(2, 2)),
                join="concatenate",
            ),
            conv(7, 4),
            cs.LIF(),
        ],
    ),
    "delayed returns": (
        spikes(40),
        lambda: [
            dense(40, 30),
            cs.Recurrent(dense(30, 30, delays=cs.SynapticDelays(4.0)), cs.LIF(), delay=2.0),
            dense(30, 3),
        ],
    ),
    "returns of all pixels": (
        spikes(*FRAME),
        lambda: [
            cs.SumPool(2, gain=0.7),
            cs.Recurrent(cs.Dense((3, 4, 2), 24, weight_scale=2.0), cs.LIF()),
            cs.AvgPool(2),
        ],
    ),
    "layers without neurons": (spikes(40), lambda: [dense(40, 30), dense(30, 20), cs.LIF(), dense(20, 20)]),
}


@needs_gcc
@pytest.mark.all
@pytest.mark.parametrize(("weights", "states"), [(8, 16), (4, 32)])
@pytest.mark.parametrize("name", OF_NUMBERS)
def test_twins_with_numbers_equal_their_c_and_nearly_their_network(name, weights, states, tmp_path):
    x, layers = OF_NUMBERS[name]
    cs.seed(1)
    net = cs.Sequential(*layers()).eval()
    twin = quantize(net, x, weights=weights, states=states)
    assert weights < 8 or all(moved.share < 0.25 for moved in compare_twin(net, twin, x).moved)
    stream = twin.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:13]), stream(x[13:14]), stream(x[14:])]), twin(x).data)
    check_equal(twin, x[:, 0], tmp_path)


def test_numbers_are_rounded_and_saturate(tmp_path):
    x = np.zeros((1, 2, 3), np.float32)
    x[0, 0] = 1.0, -0.3, 2.0**-16
    twin = quantize(cs.Sequential(cs.Dense(3, 1), cs.LIF()), x[:, :1])
    rounded = twin[0][0]
    x[0, 1] = -5.0, 5.0, np.float32(1.5) * 2.0**-13
    assert rounded(x).data[0].tolist() == [[8192.0, -2458.0, 0.0], [-32768.0, 32767.0, 2.0]]
    header = cs.export_c(twin, tmp_path / "net", recording=x).header.read_text()
    assert "Inputs: 3, a number for each, rounded to multiples of 0.00012207 from -4 to below 4." in header


def test_sums_of_spikes_and_of_means_of_spikes_have_no_rounding():
    """Counts of spikes, and means that are whole multiples of one another, are added exactly."""
    x = spikes(6, 6, 1)
    net = cs.Sequential(cs.Parallel(cs.AvgPool(3), cs.Sequential(cs.AvgPool(3)), cs.MaxPool(3)))
    twin = quantize(net, x)
    np.testing.assert_allclose(twin(x).data, net(x).data, rtol=1e-6)
    join = twin.graph.nodes[-2].stage
    assert [(factor.mantissa.tolist(), factor.shift) for factor in join.factors] == [(1, 0), (1, 0), (9, 0)]


def test_sums_that_do_not_fit_into_32_bits_have_64():
    """A weight of 127 for each of 1,000 inputs of 16 bits."""
    x = np.full((2, 1, 1000), 1.0, np.float32)
    net = cs.Sequential(cs.Dense(1000, 1), cs.ReadOut(1, 1, tau=1.0))
    net[0].weight.data[...] = 1.0
    twin = quantize(net, x)
    assert twin[0][1].integers == 64


@needs_gcc
@pytest.mark.all
@pytest.mark.parametrize("seed", [12, 13, 14, 15, 16, 24])
def test_extreme_weights_constants_and_inputs_do_not_overflow(seed, tmp_path):
    """A quiet recording sets the points; the sanitizer of gcc finds each overflow."""
    rng = np.random.default_rng(seed)
    cs.seed(seed)

    def drawn(least, most):
        return float(np.exp(rng.uniform(np.log(least), np.log(most))))

    def layer(inputs, outputs):
        return cs.Dense(inputs, outputs, weight_scale=drawn(1e-3, 1e7))

    theta = drawn(1e-4, 1e6)
    kinds = [
        lambda: cs.SRM(tau_sr=drawn(1, 1000), theta=theta),
        lambda: cs.CUBA(tau_i=drawn(1, 1e5), theta=theta),
        lambda: cs.AdLIF(theta=theta),
        lambda: cs.LIF(theta=theta, reset="subtract"),
    ]
    norm = cs.BatchNorm(8)
    norm.var.data[...] = np.exp(rng.uniform(-20, 20, 8))
    net = cs.Sequential(
        cs.Parallel(layer(20, 8), layer(20, 8)),
        norm,
        kinds[seed % 4](),
        layer(8, 8),
        cs.Recurrent(layer(8, 8), kinds[seed % 4]()),
        layer(8, 3),
    ).eval()
    x = rng.standard_normal((60, 1, 20)) if seed % 2 else rng.random((60, 1, 20)) < 0.9
    quiet = x * 1e-3 if seed % 2 else x & (rng.random(x.shape) < 0.1)
    twin = quantize(net, quiet, states=16 << seed % 2)
    written = cs.export_c(twin, tmp_path / "net", recording=x)
    library = compiled(written, "-O1", "-fsanitize=undefined", "-fno-sanitize-recover")
    assert library.net_selftest() == 0


def test_a_network_with_two_places_has_neurons_of_its_own_in_each():
    """The first place takes numbers, the second spikes: their scales differ."""
    cs.seed(0)
    block = cs.Sequential(cs.Dense(9, 9, weight_scale=4.0), cs.LIF())
    net = cs.Sequential(block, block).eval()
    x = numbers(9)
    assert all(moved.share < 0.2 for moved in compare_twin(net, quantize(net, x), x).moved)
    assert block.stages[0].weight.dtype == np.float32


def test_sums_that_another_layer_takes_are_rounded_with_their_bias_and_saturate():
    net = cs.Sequential(cs.Dense(2, 2, bias=True), cs.Dense(2, 1), cs.LIF()).eval()
    net[0].weight.data[...] = 1.0, 0.5
    net[0].bias.data[...] = 0.25, 0.0
    x = np.array([[[True, False]]])
    rescaled = quantize(net, x)[0]
    both = np.array([[[True, False], [True, True], [False, False]]])
    np.testing.assert_allclose(rescaled(both).data[0] * 2.0**-13, [[1.25, 0.5], [2.25, 1.0], [0.25, 0.0]], atol=1e-4)
    quiet = quantize(net, x & False)[0]
    assert quiet(both).data.max() == 32767
