"""Networks of numbers as spiking networks: equal plain networks, exact counts, rates, errors."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.interchange.conversion import units
from cuslayer.interchange.conversion.rebuild import plain
from cuslayer.layers.base import form_of
from tests.support.refused import refused


def conv(inputs, outputs, kernel=3, **options):
    layer = cs.Conv(inputs, outputs, kernel, padding=kernel // 2, weight_scale=2.4, bias=True, **options)
    layer.bias = np.random.default_rng(outputs).normal(0, 0.2, outputs)
    return layer


def norm(features):
    rng = np.random.default_rng(features)
    layer = cs.BatchNorm(features, trained=True)
    layer.mean = rng.normal(0, 0.3, features)
    layer.var = rng.uniform(0.3, 2, features)
    layer.gain = rng.uniform(0.5, 1.5, features)
    layer.offset = rng.normal(0, 0.3, features)
    return layer


def dense(inputs, outputs):
    layer = cs.Dense(inputs, outputs, weight_scale=2.4, bias=True)
    layer.bias = np.random.default_rng(outputs).normal(0, 0.2, outputs)
    return layer


def quantized(levels):
    return cs.QuantizedReLU(levels, limit=0.6 + 0.37 * levels)


# Each with the activation, a function of the number of its levels.
NETWORKS = {
    "chain": lambda act: [
        *(norm(2), conv(2, 8), act(4), cs.AvgPool(2), conv(8, 8, groups=2), norm(8), act(4), cs.MaxPool(2)),
        *(cs.Dropout(0.3), dense((2, 2, 8), 12), act(3), cs.Sequential(dense(12, 5))),
    ],
    "pooled first": lambda act: [cs.MaxPool(2), conv(2, 8), cs.MaxPool(2), act(8), dense((2, 2, 8), 5), act(2)],
    "branches": lambda act: [
        *(conv(2, 6), norm(6), act(4), cs.Residual(conv(6, 6), norm(6), act(2), conv(6, 6), norm(6)), act(5)),
        cs.Parallel(cs.Sequential(conv(6, 4), act(4)), cs.AvgPool(3, stride=1, padding=1), join="concatenate"),
        *(conv(10, 6, groups=2), act(4), cs.MaxPool(3, stride=2, padding=1), cs.GlobalAvgPool()),
    ],
    "skips of numbers": lambda act: [
        *(cs.Residual(conv(2, 2), act(4), conv(2, 2)), conv(2, 4)),
        cs.Residual(norm(4), act(3), conv(4, 4), norm(4), act(4), conv(4, 4)),
        cs.Residual(norm(4), act(2), conv(4, 4, groups=4), shortcut=conv(4, 4, 1)),
        *(norm(4), act(4), cs.SumPool(2, gain=0.3), act(3), cs.ConvTranspose(4, 3, 2, stride=2, weight_scale=2.0)),
        *(act(4), dense((8, 8, 3), 5)),
    ],
}


# Networks whose biases or last stages need care.
ENDINGS = {
    "a mean of numbers": lambda act: [conv(2, 4), act(4), conv(4, 3), cs.GlobalAvgPool()],
    "a sum of branches": lambda act: [conv(2, 4), act(4), cs.Residual(conv(4, 4), act(3), conv(4, 4, 1))],
    "numbers before the first weights": lambda act: [act(2), dense((8, 8, 2), 3)],
    "one layer for two rectifiers": lambda act: [
        *(conv(2, 4), cs.Parallel(cs.Sequential(), cs.Sequential(act(4), conv(4, 4))), act(4)),
        dense((8, 8, 4), 3),
    ],
}


def example(name, activation, samples=40):
    cs.seed(3)
    net = cs.Sequential(*(NETWORKS | ENDINGS)[name](activation)).eval()
    return net, np.random.default_rng(1).random((samples, 8, 8, 2), np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plain_network_is_equal(name):
    net, x = example(name, lambda levels: cs.ReLU())
    before = [p.data.copy() for p in net.parameters()]
    short = plain(net, x.shape[1:])
    assert not {form_of(node.stage) for node in short.graph.nodes} & {"norm", "same"}
    wanted = net(x[None]).data
    np.testing.assert_allclose(short(x[None]).data, wanted, atol=1e-5 * abs(wanted).max())
    assert all((p.data == old).all() for p, old in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_of_quantized_rectifiers_are_exact(name, tmp_path):
    net, x = example(name, quantized)
    conversion = cs.convert(net, x[None], method="qcfs", recordings=20)
    different, total = conversion.mismatches(x)
    assert different == 0
    assert total > 1000
    wanted = net(x[None]).data[0]
    sums = conversion.net(conversion.encode(x)).data.sum(axis=0)
    np.testing.assert_allclose(sums, wanted, atol=1e-5 * abs(wanted).max())
    cs.save(conversion.net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    stream = again.stream()
    parts = [stream(conversion.encode(x)[t : t + 1]).data for t in range(conversion.steps)]
    np.testing.assert_array_equal(np.sum(parts, axis=0)[0], sums)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["squares", "percentile"])
def test_rates_tend_to_the_numbers(name, method):
    net, x = example(name, lambda levels: cs.ReLU())
    wanted = net(x[None]).data[0]
    errors = []
    for steps in (8, 64, 512):
        conversion = cs.convert(net, x[None], steps=steps, method=method)
        mean = conversion.net(conversion.encode(x)).data.mean(axis=0)
        errors.append(float(np.sqrt(np.square(mean - wanted).mean() / np.square(wanted).mean())))
    assert errors[0] > 2 * errors[1] > 3 * errors[2]
    assert errors[2] < 0.03


@pytest.mark.parametrize("name", ENDINGS)
def test_counts_belong_to_their_rectifiers(name):
    net, x = example(name, quantized)
    exact = cs.convert(net, x[None], method="qcfs")
    assert exact.mismatches(x.astype(np.float64))[0] == 0
    assert [row.error for row in exact.compare(x)] == pytest.approx([0.0] * len(exact.layers), abs=1e-6)
    assert "worst" not in str(exact)
    # What is found layer by layer is what the finished network does.
    net, x = example(name, lambda levels: cs.ReLU())
    conversion = cs.convert(net, x[None], steps=8)
    errors = [row.error for row in conversion.layers]
    assert [row.error for row in conversion.compare(x.tolist())] == pytest.approx(errors, rel=1e-4)


def test_numbers_are_compared_in_float64():
    net = cs.Sequential(cs.QuantizedReLU(2, limit=1.0), dense(3, 2))
    x = np.array([[0.25 - 1e-12, 0.25, 0.75 - 1e-12]])
    assert cs.convert(net, x[None], method="qcfs").mismatches(x)[0] == 0


def test_the_bias_of_a_free_branch_moves():
    net, x = example("one layer for two rectifiers", lambda levels: cs.ReLU())
    conversion = cs.convert(net, x[None], steps=4)
    before, after = (
        [node.stage.bias.data for node in network.graph.nodes if form_of(node.stage) == "conv"]
        for network in (net, conversion.net)
    )
    assert all((new != old).all() for new, old in zip(after, before, strict=True))


def test_data_in_all_its_forms():
    net = cs.Sequential(cs.Dense(4, 8, weight_scale=2.4), cs.ReLU(), cs.Dense(8, 3, weight_scale=2.4))
    rng = np.random.default_rng(0)
    x = rng.random((1, 250, 4)) < 0.5
    labels = rng.integers(0, 3, 250)
    pair = cs.convert(net, (x.astype(np.float32), labels), steps=4)
    still = x.repeat(3, axis=0)
    data = cs.data.Arrays(still.transpose(1, 0, 2), labels)
    parts = [(still[:, start : start + 60], labels[start : start + 60]) for start in range(0, 250, 60)]
    for form, count in ((data, 3), (parts, 5), (parts[:2], 2), ((still, labels), 3), (cs.Loader(data, 25), 10)):
        batches = pair.batches(form)
        assert len(batches) == count == len(list(batches))
    assert str(cs.convert(net, data, steps=4)) == str(cs.convert(net, parts, steps=4)) == str(pair)
    assert str(cs.convert(net, (x, np.eye(3, dtype=int)[labels]), steps=4)) == str(pair)
    np.testing.assert_array_equal(pair.encode(still), pair.encode(x[0]))


def test_rate_coded_input_and_accuracy():
    cs.seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    x = np.clip(0.2 + 0.6 * np.eye(3)[labels].repeat(4, axis=1) + rng.normal(0, 0.2, (300, 12)), 0, 1)
    x = x.astype(np.float32)
    net = cs.Sequential(cs.Dense(12, 16, weight_scale=2.4), cs.ReLU(), cs.Dense(16, 3, weight_scale=2.4))
    optimizer = cs.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        cs.CrossEntropyLoss("mean")(net(x[None]), labels).backward()
        optimizer.step()
    conversion = cs.convert(net, (x[None], labels), steps=128, input="rate", recordings=100)
    assert conversion.encode(x).dtype == bool
    accuracy = conversion.accuracy
    assert accuracy.recordings == 200
    assert accuracy.numbers > 0.95
    assert accuracy.spiking[-1] > accuracy.numbers - 0.03
    assert accuracy.spiking[0] < accuracy.spiking[-1]
    assert "after 128 steps" in str(conversion)
    assert conversion.plot()[0].lines[0].get_ydata()[-1] == 100 * accuracy.spiking[-1]
    # The same from a loader, whose batches have four equal steps.
    data = cs.data.Arrays(np.broadcast_to(x[:, None], (300, 4, 12)), labels)
    loader = cs.Loader(data, 64, shuffle=False)
    current = cs.convert(net, loader, steps=32, recordings=100)
    again = cs.convert(net, (x[None], labels), steps=32, recordings=100)
    assert str(current) == str(again)
    np.testing.assert_array_equal(current.test(data).spiking, again.test((x[None], labels)).spiking)


def test_a_converted_network_goes_on_training():
    net, x = example("chain", lambda levels: cs.ReLU())
    conversion = cs.convert(net, x[None], steps=4)
    labels = net(x[None]).data[0].argmax(axis=1)
    optimizer = cs.Adam(conversion.net.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = cs.CrossEntropyLoss("mean")(conversion.net(conversion.encode(x)), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    assert losses[-1] < 0.8 * losses[0]


def test_frozen_layers_stay_frozen():
    net = cs.Sequential(cs.Dense(4, 8, bias=True), cs.BatchNorm(8), cs.ReLU(), cs.Dense(8, 3, bias=True)).eval()
    net[0].weight.requires_grad = False
    x = np.random.default_rng(0).random((1, 50, 4), np.float32)
    spiking = cs.convert(net, x, steps=4).net
    assert [parameter.requires_grad for parameter in spiking.parameters()] == [False, False, True, True]


def test_units():
    rng = np.random.default_rng(0)
    target = rng.random((5000, 2)).astype(np.float32) * [1.0, 3.0]
    fitted = units.least_squares(target, target, 4, rng)
    # By hand: the best of many units for the first channel.
    candidates = np.linspace(0.3, 1.5, 400)
    counts = np.clip(np.floor(4 * target[:, :1] / candidates + 0.5), 0, 4)
    best = candidates[np.square(target[:, :1] - candidates * counts / 4).sum(axis=0).argmin()]
    assert fitted[0] == pytest.approx(best, rel=0.1)
    assert fitted[1] == pytest.approx(3 * fitted[0], rel=0.1)
    np.testing.assert_allclose(units.percentile(target, 0.5), [0.5, 1.5], rtol=0.05)
    silent = units.least_squares(np.zeros((3, 2)), np.array([[0, 0], [0, 2.0], [0, 1]]), 4, rng)
    assert silent[0] > 0


def test_errors():
    net, x = example("chain", lambda levels: cs.ReLU())
    moving = np.random.default_rng(0).random((3, 2, 8, 8, 2))
    converted = cs.convert(net, x[None], steps=2)
    places = cs.Sequential(conv(2, 2), conv(2, 2), cs.MaxPool(2), conv(2, 2), quantized(2), dense((4, 4, 2), 2))

    class Doubled(cs.Sequential):
        def __call__(self, x):
            return 2 * super().__call__(x)

    for message, call in (
        (
            "convert: net must be a network of numbers",
            lambda: cs.convert(cs.Sequential(conv(2, 2), cs.ReLU(), cs.LIF()), x[None]),
        ),
        (
            "convert: net must be of Dense, Conv, pooling",
            lambda: cs.convert(cs.Sequential(cs.ReLU(), cs.layers.KWinners(1)), x[None]),
        ),
        ("convert: net must have a rectifier", lambda: cs.convert(cs.Sequential(cs.Dense(2, 2)), np.ones((1, 3, 2)))),
        ("convert: data must be the same at every step", lambda: cs.convert(net, moving)),
        ("convert: data must be finite", lambda: cs.convert(net, np.where(x > 0.9, np.nan, x)[None])),
        ("convert: data must be a Loader, a data set or a list", lambda: cs.convert(net, iter([(x[None], None)]))),
        ("encode: x must be (T, N, 8, 8, 2) or (N, 8, 8, 2)", lambda: converted.encode(x[0])),
        ("convert: data must have a step", lambda: cs.convert(net, x[None][:0])),
        ("convert: data must have a recording", lambda: cs.convert(net, x[None, :0])),
        ("convert: labels must be (40,)", lambda: cs.convert(net, (x[None], np.zeros(3, int)))),
        ("convert: labels must be integers", lambda: cs.convert(net, (x[None], np.full(40, "cat")))),
        ("test: label 5 of sample 0 is none of 5 classes", lambda: converted.test((x[None], np.full(40, 5)))),
        ("convert: net must be a network of numbers", lambda: cs.convert(converted.net, x[None])),
        ("convert: net must be called as a Sequential is", lambda: cs.convert(Doubled(*net.layers), x[None])),
        (
            "convert: biases before a maximum must be the same",
            lambda: cs.convert(places, x[None], method="qcfs"),
        ),
        ("convert: the spikes of layer 2 must fit into memory", lambda: cs.convert(net, x[None], steps=10**12)),
        # Normalization goes, but the number is that of the network before.
        (
            "convert: rectifiers must be QuantizedReLU for method 'qcfs', layer 2 is ReLU",
            lambda: cs.convert(net, x[None], method="qcfs"),
        ),
        ("convert: steps must be None for method 'qcfs'", lambda: cs.convert(net, x[None], method="qcfs", steps=4)),
        ("convert: data must lie in [0, 1]", lambda: cs.convert(net, 2 * x[None], input="rate")),
        ("encode: data must lie in [0, 1]", lambda: cs.convert(net, x[None], steps=2, input="rate").encode(2 * x)),
        ("convert: method must be", lambda: cs.convert(net, x[None], method="max")),
        ("test: data must have labels", lambda: cs.convert(net, x[None], steps=2).test(x[None])),
        ("convert: net must be a Network or Sequential", lambda: cs.convert(cs.ReLU(), x[None])),
    ):
        refused(message, call)
