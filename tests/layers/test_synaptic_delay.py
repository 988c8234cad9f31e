"""A trained delay for each synapse: against plain loops, its gradients, its widths, and its place in a network."""

import copy
from contextlib import nullcontext
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import to_device, to_numpy
from cuslayer.functions import conv, lagged, weights_over_lags
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Window
from cuslayer.layers.dense import _in_order
from tests.support.refused import refuses
from tools.fake_cupy import counted, in_use

RNG = np.random.default_rng(5)
PIXELS = RNG.random((40, 2, 6, 7, 1)) < 0.3
DENSE = (33, 70, 0.0), (33, 70, 0.02), (70, 9, 0.2), (8, 130, 0.6)


def test_a_dense_layer_is_a_plain_loop():
    layer = cs.Dense((2, 3, 1), 4, bias=True, delays=cs.SynapticDelays(6.0, dt=2.0))
    layer.train(False)
    layer.bias.data[:] = RNG.normal(size=4)
    x = RNG.random((9, 2, 2, 3, 1)) < 0.4
    lag, flat, w = np.rint(layer.delays.delay.data / 2).astype(int), x.reshape(9, 2, 6), layer.weight.data
    assert (lag.min(), lag.max()) == (0, 3)
    expected = np.zeros((9, 2, 4)) + layer.bias.data
    for i, j in np.ndindex(6, 4):
        expected[lag[i, j] :, :, j] += w[i, j] * flat[: 9 - lag[i, j], :, i]
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-5)
    assert [layer(x[:steps]).shape for steps in (2, 0)] == [(2, 2, 4), (0, 2, 4)]  # fewer steps than lags


def test_a_convolution_is_the_sum_of_convolutions_at_each_lag():
    layer = cs.Conv(4, 6, 3, padding=1, groups=2, delays=cs.SynapticDelays(3.0))
    layer.train(False)
    x = RNG.random((8, 1, 4, 5, 4)) < 0.3
    lag, expected = np.rint(layer.delays.delay.data), np.zeros((8, 1, 4, 5, 6))
    for each in range(4):
        weight = np.where(lag == each, layer.weight.data, 0)
        expected[each:] += conv(x[: 8 - each], weight, padding=1, groups=2).data
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-4)


def conv_of(**options):
    return lambda delays: cs.Conv(4, 6, (3, 2), bias=True, delays=delays, **options)


@pytest.mark.parametrize(
    ("frame", "make", "rate"),
    [
        *(((inputs,), partial(cs.Dense, inputs, outputs, bias=True), rate) for inputs, outputs, rate in DENSE),
        ((6, 5, 4), conv_of(groups=2, padding=(1, 0)), 0.05),
        ((6, 5, 4), conv_of(stride=2, dilation=(1, 2)), 0.6),
    ],
)
def test_events_have_the_bits_of_the_product_over_lags(frame, make, rate):
    """With gradients and without, on both devices, and in chunks; in bursts."""
    each = (1,) * len(frame)
    bursts = [RNG.random((n, 3, *frame)) < rate * RNG.choice([0.1, 1.0, 1.5], (n, 1, *each)) for n in (0, 3, 40)]
    found = []
    for device in (nullcontext(), in_use()):
        with device:
            cs.seed(2)
            layer = make(delays=cs.SynapticDelays(40.0))
            layer.train(False)
            for active in (False, True):
                given = [to_device(x) for x in bursts]
                with cs.no_grad(active), counted() as costs:
                    out = [layer(x).data for x in given]
                assert not active or costs.launches <= 7 * len(bursts)
                found.append([to_numpy(y).tobytes() for y in out])
            if len(found) == 2:
                streams = [(cs.Sequential(layer).stream(), x) for x in bursts]
                chunks = ([stream(part) for part in np.split(x, [1, 2, 17])] for stream, x in streams)
                found.append([np.concatenate(each).tobytes() for each in chunks])
    assert found[1:] == [found[0]] * 4


def test_a_spike_costs_as_much_for_any_number_of_lags():
    """On a GPU: launches and bytes. On the CPU, few lags of busy frames are side by side."""
    x, moved = RNG.random((40, 2, 5, 5, 3)) < 0.1, []
    for longest in (3.0, 60.0):
        with in_use(), cs.no_grad(), counted() as costs:
            layer = cs.Conv(3, 8, 3, padding=1, delays=cs.SynapticDelays(longest))
            layer.train(False)
            layer(to_device(x))
        moved.append((costs.launches, costs.moved))
    assert moved[0] == moved[1]
    assert costs.own() == {"pack_bits": 1, "synaptic_delay": 1}
    taps, window = RNG.normal(size=(3, 3, 3, 64)), Window.of(3, 1, 1, 1)
    for lags, rate, by_events in ((61, 0.1, True), (4, 0.01, True), (4, 0.9, False)):
        lag = RNG.integers(0, lags, taps.shape, np.int32)
        x = RNG.random((40, 2, 5, 5, 3)) < rate
        assert (cpu.synaptic_delay.forward(x, taps, lag, lags, 0, window, 1) is not None) == by_events


def test_spikes_that_a_gpu_packs():
    sums = []
    for device in (nullcontext(), in_use()):
        with device, cs.no_grad(), counted() as costs:
            cs.seed(3)
            first, last = (cs.SynapticDelays(9.0) for _ in range(2))
            net = cs.Sequential(cs.Conv(1, 3, 3), cs.SRM(), cs.Conv(3, 7, 2, delays=first), cs.LIF())
            net = cs.Sequential(net, cs.Dense((3, 4, 7), 5, delays=last))
            net.train(False)
            sums.append(to_numpy(net(to_device(PIXELS)).data))
    assert sums[0].any()
    np.testing.assert_array_equal(*sums)
    assert costs.own()["pack_bits"] == 2  # the input, and what LIF has fired


@pytest.mark.parametrize("shape", [(5, 2, 3), (4, 1, 2, 2, 4), (1, 1, 1)])
def test_gradients_are_exact(shape):
    x = RNG.normal(size=shape)
    for lags, groups in ((3, 1), (6, 2 - shape[-1] % 2)):
        assert cs.gradcheck(partial(lagged, lags=lags, groups=groups), x) < 1e-8
    assert cs.gradcheck(_in_order, x.reshape(*shape[:2], 1, 1, -1), RNG.normal(size=(x[0, 0].size, 3))) < 1e-8
    weight, delay = RNG.normal(size=(2, shape[-1], 3)), RNG.uniform(0, 4, (2, shape[-1], 3))
    for width in (0.5, 2.0, np.array([1.3])):
        run = partial(weights_over_lags, lags=5, width=width)
        assert cs.gradcheck(run, weight, delay) < 1e-6
        shares = run(np.ones_like(weight), delay).data.reshape(2, 5, shape[-1], 3)
        np.testing.assert_allclose(shares.sum(axis=1), 1)
    delay[0, 0] = 1.5, 2.5, 3.5  # between two lags: the even one has all of the weight
    for width in (0.0, np.zeros(1)):
        leaf = cs.Tensor(delay, requires_grad=True)
        shares = weights_over_lags(np.ones_like(weight), leaf, lags=5, width=width)
        (shares * RNG.normal(size=shares.shape)).sum().backward()
        assert not leaf.grad.any()
        assert shares.data.reshape(2, 5, -1, 3)[0, :, 0].argmax(axis=0).tolist() == [2, 2, 4]
        assert np.unique(shares.data).tolist() == [0.0, 1.0]


def test_steps_narrow_the_delays_until_training_is_evaluation():
    layer, x = cs.Dense(5, 4, delays=cs.SynapticDelays(9.0, steps=4, width=4.0)), RNG.random((12, 2, 5)) < 0.4
    optimizer, widths = cs.SGD(layer.parameters(), lr=0.0), []
    first = layer(x).data
    for _ in range(4):
        widths.append(float(layer.delays.width_now()[0]))
        layer(x).sum().backward()
        assert layer.delays.delay.grad.any()
        optimizer.step()
        optimizer.zero_grad()
    assert widths == pytest.approx([4 * 0.125 ** (k / 4) for k in range(4)])
    last = layer(x)
    last.sum().backward()
    assert not layer.delays.delay.grad.any()
    layer.train(False)
    np.testing.assert_allclose(layer(x).data, last.data, rtol=1e-5, atol=1e-6)
    assert abs(first - last.data).max() > 0.1
    assert layer.state()["delays.taken"].tolist() == [4.0]


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_delays_have_one_lag_in_training_too(frozen):
    layer, x = cs.Dense(5, 4, delays=cs.SynapticDelays(9.0, steps=100)), RNG.random((12, 2, 5)) < 0.4
    layer.delays.delay.requires_grad = not frozen
    trained = layer(x)
    trained.sum().backward()
    assert layer.weight.grad.any()
    layer.train(False)
    assert np.allclose(trained.data, layer(x).data, rtol=1e-5, atol=1e-6) == frozen


@pytest.mark.parametrize("dt", [0.1, 0.3, 0.7, 1.0, 2.5])
def test_the_longest_delay_has_a_lag(dt):
    """However its quotient by the step rounds."""
    for steps in (*range(1, 60), 999, 4001):
        delays = cs.SynapticDelays(steps * dt, dt=dt).attach((3, 3))
        delays.delay.data[:] = np.float32(delays.max_delay)
        assert (delays.lags, delays.whole_lags().max()) == (steps + 1, steps)


@pytest.mark.parametrize("make", [partial(cs.Adam, weight_decay=0.1), partial(cs.SGD, momentum=0.9)])
def test_after_the_last_step_delays_stay(make):
    layer, x = cs.Dense(5, 4, delays=cs.SynapticDelays(9.0, steps=3)), RNG.random((12, 2, 5)) < 0.4
    idle = copy.deepcopy(layer)  # of a process without a part of the batch, which gets the gradients only
    optimizer, other, found = make(layer.parameters(), lr=0.5), make(idle.parameters(), lr=0.5), []
    for step in range(8):
        if step == 6:
            layer.delays.delay.data[:] = 4.5  # numbers of one's own stay as well
        layer.delays.delay.requires_grad = step != 1
        (layer(x) * RNG.normal(size=(12, 2, 4))).sum().backward()
        idle.delays.delay.requires_grad = step != 1
        for mine, given in zip(idle.parameters(), layer.parameters(), strict=True):
            mine.grad = None if given.grad is None else given.grad.copy()
        optimizer.step()
        other.step()
        if step < 6:
            np.testing.assert_array_equal(idle.delays.delay.data, layer.delays.delay.data)
        found.append((layer.delays.delay.data.copy(), layer.weight.data.copy()))
    changed = [[bool((a != b).any()) for a, b in zip(*two, strict=True)] for two in pairwise(found)]
    assert [d for d, _ in changed] == [False, True, True, False, False, True, False]
    assert all(w for _, w in changed)
    assert (found[-1][0] == 4.5).all()
    idle.load_state(layer.state())
    other.step()
    assert (idle.delays.delay.data == 4.5).all()


def test_delays_of_another_step_warn():
    neuron, message = cs.LIF(dt=0.5), "^Sequential: neurons, delays and read-outs must have one dt, got 0.5 and 1$"
    layer, filtered = cs.Dense(3, 3, delays=cs.SynapticDelays(9.0, dt=1.0)), cs.layers.TemporalFilter(cs.LIF())
    shift, out = cs.layers.Shift(1.0, dt=1.0), cs.ReadOut(3, 2, dt=1.0)
    trained = cs.ReadOut(3, 2, trained=True)
    pairs = (neuron, shift), (neuron, out), (filtered, neuron), (layer, neuron), (neuron, trained)
    for stages in (*pairs, (cs.Delay(3, dt=1.0), cs.Sequential(neuron))):
        with pytest.warns(UserWarning, match=message):
            cs.Sequential(*stages)
    branch, usual = cs.Sequential(cs.Dense(3, 3), cs.SRM(dt=5.0)), cs.Dense(3, 3, delays=cs.SynapticDelays(9.0))
    cs.Sequential(layer, usual, cs.layers.Decimate(5), cs.Parallel(branch), cs.ReadOut(3, 2, dt=5.0))
    assert usual.delays.dt == 1.0  # what changes the number of steps is between


def test_delays_and_read_outs_take_the_step_of_the_neurons(tmp_path):
    """As if each had been given it: also in nested networks, for the delays of synapses, and in saved networks."""

    def layers(**dt):
        cs.seed(0)
        inner = cs.Sequential(cs.Delay(4, initial=6.0, **dt), cs.Dense(4, 3, delays=cs.SynapticDelays(9.0, **dt)))
        own = cs.Recurrent(cs.Dense(3, 3, delays=cs.SynapticDelays(3.0, **dt)), cs.LIF(dt=0.5))
        return inner, cs.layers.Shift(2.0, **dt), own, cs.ReadOut(3, 2, **dt)

    x = np.random.default_rng(0).random((40, 2, 4)) < 0.3
    net, given = cs.Sequential(*layers()), cs.Sequential(*layers(dt=0.5))
    assert (net(x).data == given(x).data).all()
    assert repr(net) == repr(given)
    cs.save(net, tmp_path / "net.npz")
    assert (cs.load(tmp_path / "net.npz")(x).data == net(x).data).all()
    assert net[0, 0].dt == net[2].layer.delays.dt == 0.5
    with pytest.warns(UserWarning, match="must have one dt, got 0.5 and 1$"):
        cs.Sequential(net[1], cs.LIF())  # it has the step of its first network


@pytest.mark.parametrize("apart", [5, 15, 30, -20])
def test_delays_find_the_interval_of_two_spikes(apart):
    """A neuron of fixed weights learns to fire for two spikes in one order, and not in the other."""
    layer = cs.Dense(2, 1, delays=cs.SynapticDelays(40.0, steps=66, width=8.0))
    layer.weight.data[:], layer.delays.delay.data[:] = 0.7, 20.0
    net, x = cs.Sequential(layer, cs.LIF(5.0)), np.zeros((100, 2, 2), bool)
    x[30, [0, 1], [0, 1]] = x[30 + apart, [0, 1], [1, 0]] = True
    optimizer = cs.Adam([layer.delays.delay], lr=0.5)
    for _ in range(100):
        error = net(x).sum(axis=0) - np.array([[1.0], [0.0]])
        optimizer.zero_grad()
        (error * error).sum().backward()
        optimizer.step()
    net.train(False)
    assert net(x).data.sum(axis=0).ravel().tolist() == [1, 0]
    first, second = layer.delays.delay.data.ravel()
    assert first - second == pytest.approx(apart, abs=4.2)  # 0.7 + 0.7 exp(-4.2 / 5) is the threshold


def test_in_a_network(tmp_path):
    cs.seed(0)
    words = [cs.network.Word("12"), cs.network.Word("9", synaptic_delay=7.0, narrowing=30), cs.network.Word("4")]
    net, x = cs.Network(words, cs.SRM(theta=1.0)), RNG.random((30, 2, 12)) < 0.2
    assert repr(net[0]) == "Dense(12, 9, delays=SynapticDelays(7, steps=30))"
    net(x).sum().backward()
    assert net[0].delays.delay.grad.any()
    net.train(False)
    expected, stream = net(x).data, net.stream()
    assert expected.any()
    np.testing.assert_array_equal(np.concatenate([stream(x[:4]), stream(x[4:5]), stream(x[5:])]), expected)
    why = cs.explain(net, x, 0, 3, 25, sample=1)
    assert why.contributions.sum() + why.refractory == pytest.approx(why.potential, abs=1e-4)
    cs.save(net, tmp_path / "net.h5")
    loaded = cs.load(tmp_path / "net.h5")
    loaded.train(False)
    np.testing.assert_array_equal(loaded(x).data, expected)
    loaded[0].delays.delay.clamp()
    assert (loaded[0].delays.delay.most, loaded[0].delays.taken.data.tolist()) == (7.0, [1.0])
    same = cs.Network([words[0], words[0], words[1]], cs.SRM(theta=1.0))
    for each, action in ((net, pytest.raises(ValueError, match="must have one delay for all")), (same, nullcontext())):
        same[2].delays.delay.data[:] = same[2].delays.delay.data[:, :1]
        with action:
            cs.interchange.export_hdf5(each, tmp_path / "out")
    same.train(False)
    np.testing.assert_array_equal(cs.interchange.import_hdf5(tmp_path / "out")(x).data, same(x).data)
    with refuses("SynapticDelays: delays must be new, these have been trained"):
        cs.Dense(12, 9, delays=loaded[0].delays)


FINE = partial(cs.SynapticDelays, 4.0, dt=0.5)
REFUSED = {
    "Dense: delays must be SynapticDelays, got int": lambda: cs.Dense(3, 2, delays=5),
    "SynapticDelays: max_delay must be under 65,536 steps of 0.5 ms, got 1e\\+12": lambda: cs.SynapticDelays(
        1e12, dt=0.5
    ),
    "SynapticDelays: the weights over lags must fit into memory": lambda: cs.Dense(
        4000, 1000, delays=cs.SynapticDelays(65_000.0)
    )(np.ones((1, 1, 4000))),
    "Dense: delays must be SynapticDelays, got type": lambda: cs.Dense(3, 2, delays=cs.SynapticDelays),
    "x must be \\(T, N, C\\), got shape \\(40, 2\\)": lambda: cs.Dense(1, 2, delays=FINE())(PIXELS[..., 0, 0, 0]),
    "the layer's delays must have the neuron's dt, 1, got 0.5": lambda: cs.Recurrent(
        cs.Dense(3, 3, delays=FINE()), cs.LIF()
    ),
    "groups must divide the channels, got 3 and 1": lambda: lagged(PIXELS, lags=2, groups=3),
    "weight must be .* got shape \\(3,": lambda: weights_over_lags(np.ones(3), np.ones(3), lags=2, width=1.0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises((TypeError, ValueError), match=message):
        REFUSED[message]()


def test_calibration_and_diagnosis_are_of_the_first_step():
    """A weight spread over lags gives a smaller potential than with one lag."""
    layers = [cs.Dense(40, 30, delays=cs.SynapticDelays(60.0, steps=5)), cs.LIF(tau=5.0), cs.Dense(30, 4), cs.SRM()]
    net, x = cs.Sequential(*layers), RNG.random((300, 4, 40)) < 0.03
    rates = [row.rate for row in cs.calibrate(net, [x], rate=40.0).layers]
    optimizer = cs.Adam(net.parameters(), lr=0.01)
    found = cs.diagnose(net, [(x, RNG.integers(4, size=4))], optimizer=optimizer)
    hidden = layers[1](layers[0](x)).data
    assert hidden.mean() * 1000 == pytest.approx(rates[0], rel=1e-3) == pytest.approx(40, rel=0.05)
    assert found.layers[0].rates.mean() == pytest.approx(rates[0], rel=1e-3)
    assert net.training
    assert layers[0].delays.delay.requires_grad
    weights = cs.Adam([layers[0].weight], lr=1e-9)
    moves = cs.diagnose(net, [(x, RNG.integers(4, size=4))], optimizer=weights).first_step.moves
    assert moves[1] < 1e-6  # the delays are in no step, and do not widen
    layers[0].delays.taken.data += 5
    assert layers[1](layers[0](x)).data.mean() * 1000 > 60


def test_operations_of_a_convolution_with_delays():
    counts = []
    for delays in (None, cs.SynapticDelays(20.0)):
        layer = cs.Conv(2, 3, 3, padding=1, delays=delays)
        found = cs.inspection.count_operations(cs.Sequential(layer, cs.LIF()), PIXELS.repeat(2, axis=-1))
        counts.append((found.accumulates, found.dense))
    assert counts[0] == counts[1]
    assert counts[0][0] > 20_000


def test_a_population_with_delays_to_itself():
    cs.seed(1)
    layer = cs.Dense(4, 4, delays=cs.SynapticDelays(5.0, steps=9))
    population, x = cs.Recurrent(layer, cs.LIF(5.0), delay=2.0), RNG.normal(0.2, 0.6, (40, 2, 4)).astype(np.float32)
    population(x).sum().backward()
    assert layer.delays.delay.grad.any()
    population(x[:, :0]).sum().backward()
    population.train(False)
    s, lag, z = population(x).data, np.rint(layer.delays.delay.data).astype(int), x.copy()
    for i, j in np.ndindex(4, 4):
        late = 2 + lag[i, j]
        z[late:, :, j] += layer.weight.data[i, j] * s[: 40 - late, :, i]
    np.testing.assert_array_equal(population.neuron(z).data, s)
    np.testing.assert_allclose(population.recurrence(s).data, z - x, atol=1e-5)
    net = cs.Sequential(cs.Dense(4, 4), population)
    stream = net.stream()
    expected, layer.delays.over_lags = net(x).data, None  # a stream puts the weight over lags once
    np.testing.assert_array_equal(np.concatenate([stream(x[:7]), stream(x[7:])]), expected)
    del layer.delays.over_lags
    why = cs.explain(net, x, 1, 2, 39, sample=1)
    assert why.contributions.sum() + why.refractory == pytest.approx(why.potential, abs=1e-4)
    with refuses("Recurrent: layer must be Dense to have delays of its synapses"):
        cs.Recurrent(cs.Conv(2, 2, 3, padding=1, delays=cs.SynapticDelays(6.0)), cs.LIF())


def test_a_population_with_delays_on_a_device():
    (x, g), found = RNG.normal(0.3, 1, (2, 30, 2, 5)).astype(np.float32), []
    for device in (nullcontext(), in_use()):
        with device:
            cs.seed(1)
            layer, leaf = cs.Dense(5, 5, delays=cs.SynapticDelays(4.0)), cs.Tensor(x, requires_grad=True)
            s = cs.Recurrent(layer, cs.LIF(4.0), delay=2.0)(leaf)
            s.backward(to_device(g))
            found.append([to_numpy(a) for a in (s.data, leaf.grad, layer.weight.grad, layer.delays.delay.grad)])
    assert found[0][0].any()
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
