"""Batch normalization over time: of the mean alone, by powers of two, by the standard deviation."""

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import to_numpy
from cuslayer.layers import BatchNorm
from tests.support.refused import refuses
from tools.fake_cupy import in_use

pytestmark = pytest.mark.all

RNG = np.random.default_rng(31)
X = RNG.standard_normal((9, 3, 2, 2, 4)) * [1.0, 3.0, 0.2, 5.0] + [2.0, 0.0, -1.0, 1.0]
MEAN, STD = X.mean(axis=(0, 1, 2, 3)), X.std(axis=(0, 1, 2, 3))


@pytest.mark.parametrize("height", [1.0, 2.5])
def test_the_formulas(height):
    centred = X - MEAN
    expected = {
        "none": centred,
        "std": height * centred / np.sqrt(STD**2 + 1e-5),
        "power": height * centred / 2.0 ** np.ceil(np.log2(np.sqrt(STD**2 + 1e-5))),
    }
    for scale, y in expected.items():
        np.testing.assert_allclose(BatchNorm(4, scale=scale, height=height)(X).data, y, atol=1e-6)

    norm = BatchNorm(4, scale="power", exponents=(0, 1))
    np.testing.assert_allclose(norm(X).data, centred / 2.0 ** np.ceil(np.log2(STD)).clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("scale", ["none", "std", "power"])
@pytest.mark.parametrize("where", [nullcontext, pytest.param(in_use, marks=pytest.mark.all)])
def test_gradients(scale, where):
    with where():
        for training, hook in ((True, None), (False, None), (True, lambda mean: mean * mean)):
            norm = BatchNorm(4, scale=scale, height=1.5, trained=True, mean_hook=hook)
            norm.training = training

            def run(x, gain, offset, norm=norm):
                norm.gain, norm.offset = gain, offset
                return norm(x)

            assert cs.gradcheck(run, X[:4], RNG.random(4), RNG.random(4)) < 1e-6
            norm.gain = norm.offset = None
            assert cs.gradcheck(norm, X[:4]) < 1e-6

        def of_mean(mean, norm=norm):
            norm.mean = mean
            return norm(X[:4])

        norm.train(False)  # the last one, with a hook
        assert cs.gradcheck(of_mean, RNG.random(4)) < 1e-6


@pytest.mark.parametrize("where", [nullcontext, pytest.param(in_use, marks=pytest.mark.all)])
def test_without_the_mean(where):
    square = np.mean(X * X, axis=(0, 1, 2, 3))
    with where():
        norm = BatchNorm(4, height=2.5, momentum=0.25, center=False)
        np.testing.assert_allclose(to_numpy(norm(X).data), 2.5 * X / np.sqrt(square + 1e-5), atol=1e-6)
        np.testing.assert_allclose(to_numpy(norm.var.data), 0.75 + 0.25 * square, rtol=1e-5)
        assert not norm.mean.data.any()
        assert cs.gradcheck(norm, X[:4]) < 1e-6
        norm = BatchNorm(4, trained=True, scale="power", center=False)
        assert norm.offset is None

        def run(x, gain):
            norm.gain = gain
            return norm(x)

        for training in (True, False):
            norm.train(training)
            assert cs.gradcheck(run, X[:4], RNG.random(4)) < 1e-6
        norm.observe(X)
        np.testing.assert_allclose(to_numpy(norm.var.data), square, rtol=1e-5)


def test_running_statistics_are_those_of_evaluation():
    norm = BatchNorm(4, momentum=0.25)
    norm(X)
    np.testing.assert_allclose(norm.mean.data, 0.25 * MEAN, rtol=1e-5)
    np.testing.assert_allclose(norm.var.data, 0.75 + 0.25 * STD**2, rtol=1e-5)
    norm.train(False)
    expected = (X - norm.mean.data) / np.sqrt(norm.var.data + 1e-5)
    np.testing.assert_allclose(norm(X).data, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.mean.data, 0.25 * MEAN, rtol=1e-5)
    norm.train()
    assert norm(X[:0]).shape == (0, 3, 2, 2, 4)
    assert np.isfinite(norm.mean.data).all()


def network(scale="std"):
    srm = cs.SRM()
    return cs.Sequential(cs.Dense(6, 8), BatchNorm(8, scale=scale, height=8.0, trained=True), srm, cs.Dense(8, 3), srm)


@pytest.mark.parametrize("scale", ["none", "power", "std"])
def test_trained_saved_streamed_and_explained(scale, tmp_path):
    from cuslayer.training import Trainer

    cs.seed(1)
    net, x, labels = network(scale), RNG.random((40, 6, 6)) < 0.3, np.array([0, 1, 2, 0, 1, 2])
    trainer = Trainer(net, cs.SpikeCountLoss(cs.SRM(), true=6, false=1), cs.Adam(net.parameters(), 0.02))
    mean = net[1].mean.data.copy()
    for _ in range(3):
        trainer.train([(x, labels)])
    assert not np.array_equal(net[1].mean.data, mean)
    assert not np.array_equal(net[1].offset.data, np.zeros(8))
    net.train(False)
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:9]), stream(x[9:])]), net(x).data)
    cs.save(net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(again(x).data, net(x).data)
    other = network(scale)
    other.load_state(net.state())
    other.train(False)
    np.testing.assert_array_equal(other(x).data, net(x).data)
    why = cs.explain(net, x, 2, 3, 20)
    assert why.bias != 0
    assert why.potential == pytest.approx(why.contributions.sum() + why.refractory + why.bias, abs=1e-3)
    assert "bias" in repr(why)
    cs.write_report(net, x[:, :1], tmp_path / "a.html")


def test_training_is_not_cut_into_chunks():
    net, x = cs.Sequential(cs.Dense(64, 512), BatchNorm(512), cs.LIF()), RNG.random((8192, 4, 64)) < 0.02
    with cs.no_grad():
        np.testing.assert_array_equal(net(x).data, net[2](net[1](net[0](x))).data)
    norm = BatchNorm(4)
    norm.mean.data[:] = 1.0
    net = cs.Sequential(norm)
    found = net.stream()(X.astype(np.float32))
    assert norm.training
    norm.train(False)
    np.testing.assert_array_equal(found, net(X.astype(np.float32)).data)


def test_the_hook_of_the_mean_in_training_in_evaluation_and_in_a_stream():
    """Each subtracts the rounded mean; the running mean itself is not rounded."""
    x = RNG.normal(3.0, 1.0, (6, 2, 3)).astype(np.float32)
    norm = cs.BatchNorm(3, scale="none", momentum=0.5, mean_hook=partial(cs.functions.quantize, step=2.0))
    batch = x.mean(axis=(0, 1))
    np.testing.assert_allclose(norm(x).data, x - 2 * np.rint(batch / 2), rtol=1e-6)
    np.testing.assert_allclose(norm.mean.data, batch / 2, rtol=1e-6)
    norm.mean.data[...] = [2.9, -1.2, 0.4]
    norm.train(False)
    expected = x - np.array([2.0, -2.0, 0.0], np.float32)
    np.testing.assert_array_equal(norm(x).data, expected)
    np.testing.assert_array_equal(cs.Sequential(norm).stream()(x), expected)


FOLDED = {
    "convolution with a bias": lambda: (
        cs.Conv(2, 8, 3, padding=1, weight_scale=20.0, bias=True),
        BatchNorm(8, trained=True),
    ),
    "strides, no mean": lambda: (cs.Conv(2, 8, 3, stride=2, weight_scale=20.0), BatchNorm(8, center=False)),
    "groups, powers of two": lambda: (cs.Conv(2, 8, 3, groups=2, weight_scale=20.0), BatchNorm(8, scale="power")),
    "dense with a bias": lambda: (cs.Dense((9, 9, 2), 16, weight_scale=20.0, bias=True), BatchNorm(16, height=3.0)),
    "dense, a hook": lambda: (
        cs.Dense((9, 9, 2), 13, weight_scale=20.0),
        BatchNorm(13, scale="none", mean_hook=partial(cs.functions.quantize, step=0.5)),
    ),
    "another type": lambda: (cs.Conv(2, 8, 3, weight_scale=20.0), double(BatchNorm(8))),
}


def double(norm):
    norm.mean.data = norm.mean.data.astype(np.float64)
    norm.var.data = norm.var.data.astype(np.float64)
    return norm


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("activity", [0.02, 0.3])
def test_evaluation_in_the_pass_of_the_layer_has_the_same_bits(name, activity, monkeypatch):
    """Without gradients and in a stream, BatchNorm is a part of the layer's pass."""
    cs.seed(0)
    layer, norm = FOLDED[name]()
    net = cs.Sequential(layer, norm, cs.LIF(theta=1.0))
    x = np.random.default_rng(0).random((40, 3, 9, 9, 2)) < activity
    for _ in range(3):
        net(x)
    net.eval()
    expected = net(x).data
    with cs.no_grad():
        stages = x
        for stage in net:
            stages = stage(stages)
        with monkeypatch.context() as patched:
            if name != "another type":
                patched.setattr(BatchNorm, "_operate", None)
            once = net(x).data
    stream = net.stream()
    chunks = np.concatenate([stream(x[:7]), stream(x[7:8]), stream(x[8:])])
    assert 0.01 < expected.mean() < 0.9
    for other in (stages.data, once, chunks):
        np.testing.assert_array_equal(other, expected)


def test_a_pass_with_a_normalization_has_no_gradient_and_wants_three_rows():
    x = np.ones((4, 1, 3), bool)
    w = cs.Tensor(np.ones((3, 2), np.float32), requires_grad=True)
    rows = np.ones((3, 2), np.float32)
    spikes = cs.functions.dense_neuron(x, w, spiking=cs.SRM().spiking, normalization=rows)
    assert not spikes.requires_grad
    with refuses("dense_neuron: normalization must be (3, 2), on a CPU"):
        cs.functions.dense_neuron(x, w, spiking=cs.SRM().spiking, normalization=rows[:2])
