"""Checks of a network's input: NaN, infinity, pixels, spikes without a layer, orders of axes."""

import re
import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Arrays, Digits, Loader
from cuslayer.training.trainer import Trainer
from tests.support.refused import refuses
from tools.fake_cupy import strict

SRM = cs.SRM()
RNG = np.random.default_rng(0)


def networks():
    return cs.Network("4-3", SRM), cs.Sequential(cs.Dense(4, 3), SRM)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(value):
    x = RNG.random((10, 2, 4))
    x[7, 1, 2] = value
    for net in networks():
        for given in (x, x.astype(np.float32), cs.Tensor(x), x.tolist()):
            for active in (True, False):
                with cs.no_grad(active), refuses(f"network: x must be finite, got {value} in it"):
                    net(given)


def test_pixels_warn_once_for_a_network():
    pixels = RNG.integers(0, 256, (10, 2, 4))
    pixels[0, 0, 0] = 255
    for net in networks():
        for given in (pixels, pixels.astype(np.uint8), pixels.astype(np.float32)):
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                net(given)
                line = found and found[0]
            if given is pixels:
                assert (len(found), line.category, line.filename) == (1, UserWarning, __file__)
                assert str(line.message) == (
                    "network: x looks like pixels from 0 to 255, its largest value is 255; divide it by 255, or make "
                    "spikes of it, as encode_poisson(x / 255, steps=...) does"
                )
            else:
                assert not found


def test_good_input_does_not_warn():
    net = cs.Network("4-3", SRM)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shape = (10, 2, 4)
        currents = RNG.normal(0, 100, shape), 200 * RNG.standard_normal(shape), 1000 * RNG.random(shape)
        currents += tuple(scale * RNG.random(shape) for scale in (140.0, 200.0, 254.0))
        for x in (RNG.random(shape), RNG.random(shape) < 0.2, RNG.poisson(1, shape), np.zeros(shape), *currents):
            net(x)
        net(np.zeros((0, 2, 4)))
        digits = cs.Network("34x34x2-4", SRM)
        digits(next(iter(Loader(Digits("test"), 4, steps=20)))[0])


def test_a_network_within_a_network_is_not_checked():
    inner = cs.Sequential(cs.Dense(3, 2), SRM)
    outer = cs.Sequential(cs.Dense(4, 3), lambda x: x * 0.0 + 200.0, inner)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outer(RNG.random((10, 2, 4)))
    broken = cs.Sequential(cs.Dense(4, 3), lambda x: x * np.nan, inner)
    assert broken(RNG.random((10, 2, 4))).shape == (10, 2, 2)
    with refuses("network: x must be finite"):
        inner(np.full((10, 2, 3), np.nan))


def test_spikes_are_not_looked_at(monkeypatch):
    def fail(*arguments):
        raise AssertionError

    monkeypatch.setattr("cuslayer._base.check.finite_range", fail)
    for net in networks():
        net(RNG.random((10, 2, 4)) < 0.5)


def test_numbers_on_a_device():
    x = RNG.random((10, 2, 4)).astype(np.float32)
    expected = cs.Network("4-3", SRM)(x).shape
    with strict():
        cs.use("cuda")
        net = cs.Network("4-3", SRM)
        assert net(backend.to_device(x)).shape == net(cs.Tensor(x)).shape == expected
        x[3, 0, 1] = np.nan
        with refuses("network: x must be finite, got nan in it"):
            net(backend.to_device(x))
        cs.use("cpu")


@pytest.mark.parametrize("neuron", [cs.SRM(), cs.Loihi(), cs.SRM().spike])
def test_neurons_refuse_spikes(neuron):
    spikes = RNG.random((10, 2, 4)) < 0.5
    calls = [neuron, cs.Sequential(neuron)]
    calls += [] if neuron == cs.SRM().spike else [cs.Sequential(cs.Dense(4, 4), neuron, neuron)]
    for call in calls:
        with pytest.raises(TypeError) as found:
            call(spikes)
        name, rule = re.match(r"^\w+: (\w) must be (.*)$", str(found.value)).groups()
        assert name in "xa"
        assert rule == (
            "the weighted input of a layer, float32 or float64, got spikes (bool); put a layer, such as Dense or Conv, "
            "before the neurons"
        )


@pytest.mark.parametrize(
    ("shape", "notation", "hint"),
    [
        ((30, 6, 5, 2), "6x5x2-3", "; one sample needs a batch axis, x[:, None]"),
        ((30, 4), "4-3", "; one sample needs a batch axis, x[:, None]"),
        ((2, 2, 6, 5, 30), "6x5x2-3", "; it looks like (N, C, H, W, T), which from_nchwt converts"),
        ((30, 2, 2, 6, 5), "6x5x2-3", "; channels come last, np.moveaxis(x, 2, -1)"),
        ((30, 2, 6, 5), "6x5x1-3", "; frames of one channel need its axis, x[..., None]"),
        ((30, 2, 7), "4-3", ""),
        ((4,), "4-3", ""),
        ((30, 2, 60), "6x5x2-3", "; frames are not flat, x.reshape(*x.shape[:2], 6, 5, 2)"),
        ((30, 2, 2, 2, 1), "4-3", "; flatten it, x.reshape(*x.shape[:2], 4)"),
    ],
)
def test_an_input_of_another_shape_is_explained(shape, notation, hint):
    net = cs.Network(notation, SRM)
    wanted = ", ".join(map(str, net.input_shape))
    with refuses(f"network: x must be (T, N, {wanted}) for {notation}, got shape {shape}{hint}"):
        net(np.zeros(shape, bool))


# Sizes and steps that cannot fit are refused when a network is built


LIF = cs.LIF()

REFUSED = {
    "dense": (
        lambda: cs.Sequential(cs.Dense(4, 3), SRM, cs.Dropout(0.1), cs.Dense(5, 2)),
        "Sequential: layer 3, Dense(5, 2), does not fit what is before it: dense: x has 3 features, weight expects 5",
    ),
    "nested": (lambda: cs.Sequential(cs.Dense(4, 3), cs.Sequential(SRM, cs.Dense(4, 3))), "layer 1.1, Dense(4, 3),"),
    "read-out": (lambda: cs.Sequential(cs.Dense(4, 3), SRM, cs.ReadOut(4, 2)), "layer 2, ReadOut("),
    "frames after pixels": (lambda: cs.Sequential(cs.Dense(4, 3), cs.Conv(4, 2, 1)), "conv: x has 3 channels"),
    "mean": (lambda: cs.Sequential(cs.Conv(2, 6, 3), cs.MaxPool(2), cs.GlobalAvgPool(), cs.Dense(4, 3)), "has 6 f"),
    "maps": (lambda: cs.Sequential(cs.Conv(2, 6, 3), SRM, cs.SumPool(2, 11), SRM, cs.Conv(4, 2, 3)), "layer 4, Conv("),
    "transposed": (lambda: cs.Sequential(cs.ConvTranspose(2, 6, 3), cs.ConvTranspose(5, 2, 3)), "layer 1, ConvT"),
    "recurrent": (lambda: cs.Sequential(cs.Dense(4, 3), cs.Recurrent(cs.Dense(4, 4), LIF)), "layer 1, Recurrent"),
    "batch norm": (lambda: cs.Sequential(cs.Conv(2, 3, 3), cs.BatchNorm(4)), "layer 1, BatchNorm(4), does not fit"),
    "delay": (lambda: cs.Sequential(cs.Dense(4, 3), SRM, cs.Delay(4, dt=1.0)), "layer 2, Delay(4, dt=1), does not"),
    "winners": (
        lambda: cs.Sequential(cs.Dense(4, 3), cs.layers.KWinners(5, among="channels")),
        "k must be at most the 3 neurons",
    ),
    "average": (lambda: cs.Sequential(cs.Dense(4, 9), SRM, cs.layers.Average(2)), "layer 2, Average(2), does not fit"),
    "filters": (lambda: cs.Sequential(cs.Dense(4, 3), cs.layers.FilterBank(2, 5), cs.Dense(3, 2)), "x has 6 features"),
    "branches": (lambda: cs.Parallel(cs.Dense(4, 3), cs.Dense(4, 2)), "Parallel: branches must have one shape to add"),
    "joined": (
        lambda: cs.Sequential(cs.Parallel(cs.Conv(2, 3, 1), cs.Conv(2, 4, 1), join="concatenate"), cs.Conv(6, 1, 1)),
        "layer 1, Conv(6, 1, (1, 1)), does not fit what is before it: conv: x has 7 channels, weight expects 6",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sizes_that_do_not_fit_are_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)) as problem:
        make()
    assert "\n" not in str(problem.value)


class Twice(cs.Dense):
    """A layer whose output is not that of its base class."""

    def __call__(self, x):
        y = super().__call__(x)
        return cs.concatenate([y, y], axis=-1)


class Doubled(cs.Layer):
    """A layer that tells its output for a known input only."""

    def __call__(self, x):
        return cs.concatenate([x, x], axis=-1)

    def output_shape(self, shape):
        return (*shape[:-1], 2 * shape[-1])


ACCEPTED = {
    "a layer of its own": (lambda: [Twice(6, 4), SRM, cs.Dense(8, 2)], (6,)),
    "a function": (lambda: [cs.Dense(6, 4), lambda y: y[..., :3], SRM, cs.Dense(3, 2)], (6,)),
    "maps": (
        lambda: [
            *(
                cs.Conv(2, 4, 3, padding=1),
                SRM,
                cs.Delay((6, 6, 4), dt=1.0),
                cs.SumPool(2, 11),
                cs.layers.KWinners(30),
                SRM,
            ),
            *(cs.layers.Unpool(2, 11), cs.BatchNorm(4), SRM, cs.Dense((6, 6, 4), 2)),
        ],
        (6, 6, 2),
    ),
    "branches": (
        lambda: [cs.Parallel(cs.Conv(2, 2, 3, padding=1), cs.Sequential()), cs.Conv(2, 4, 6), cs.ReadOut(4, 2)],
        (6, 6, 2),
    ),
    "recurrent maps": (
        lambda: [
            cs.Conv(2, 4, 3),
            cs.Recurrent(cs.Conv(4, 4, 3, padding=1), LIF),
            cs.layers.Average(2),
            cs.Dense(2, 3),
        ],
        (6, 6, 2),
    ),
    "filters": (lambda: [cs.layers.FilterBank(3, 4), cs.Dense(18, 3), SRM], (6,)),
    "tokens": (
        lambda: [
            *(cs.Parallel(cs.Sequential(cs.Dense(6, 4), cs.BatchNorm(4), SRM), cs.Dense(6, 4)), cs.Delay((9, 4), dt=1)),
            *(cs.Dense(4, 8), SRM, cs.Dense(72, 10), cs.ReadOut(10, 3)),
        ],
        (9, 6),
    ),
    "pixels": (
        lambda: [cs.Dense(6, 4), SRM, cs.SumPool(2, 11), SRM, cs.Conv(4, 3, 1), cs.Dense(3, 2), cs.GlobalAvgPool()],
        (4, 4, 6),
    ),
    "a layer that must see its input": (lambda: [Doubled(), cs.Dense(12, 3), SRM], (6,)),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("runs", [False, pytest.param(True, marks=pytest.mark.all)])
def test_a_network_that_runs_is_built(name, runs):
    make, shape = ACCEPTED[name]
    net = cs.Sequential(*make())
    assert not runs or net(np.ones((4, 2, *shape), bool)).shape[:2] == (4, 2)


FINE, COARSE = cs.SRM(dt=0.5), cs.Loihi()
LAYERS = [
    cs.Dense(3, 3),
    cs.Delay(3, dt=1.0),
    cs.layers.Shift(1.0),
    cs.Dropout(0.5),
    cs.layers.Average(1),
    cs.layers.FilterBank(2, 3),
    cs.layers.TemporalFilter(FINE),
    cs.SumPool(2, gain=1.0),
    cs.AvgPool(2),
    cs.GlobalAvgPool(),
    cs.MaxPool(2),
    cs.Sequential(cs.Dense(3, 3), cs.Sequential()),
    cs.Parallel(cs.Dense(3, 3), cs.Dense(3, 3)),
]


@pytest.mark.filterwarnings("ignore:Sequential. neurons, delays")
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_neurons_of_a_chain_have_one_step(layer):
    for first, last in ((FINE, COARSE), (COARSE, FINE), (cs.neurons.SampledSRM(dt=0.5), cs.SRM())):
        with refuses("Sequential: neurons must have one dt"):
            cs.Sequential(cs.Dense(3, 3), first, layer, last)
        with refuses("Sequential: neurons must have one dt"):
            cs.Sequential(cs.Sequential(first), cs.Sequential(layer, last))
    assert cs.Sequential(FINE, layer, cs.SRM(theta=5.0, dt=0.5))


class Halved(cs.Layer):
    """Every second step."""

    def __call__(self, x):
        return x[::2]


def test_a_stage_of_ones_own_may_change_the_step():
    for stage in (Halved(), lambda x: x[::2]):
        net = cs.Sequential(cs.Dense(3, 3), FINE, stage, cs.Dense(3, 2), cs.SRM())
        assert net(np.ones((10, 1, 3), bool)).shape == (5, 1, 2)

    class Kept(Halved):
        keeps_steps = True

    with refuses("Sequential: neurons must have one dt"):
        cs.Sequential(FINE, Kept(), cs.SRM())


def test_neurons_without_a_step_fit_any():
    class Plain:
        theta = 1.0

        def psp(self, x):
            return x

        def __call__(self, x):
            return x >= 1.0

    assert cs.Sequential(FINE, cs.Dense(3, 3), Plain(), cs.Dense(3, 3), FINE)


def trainer(net, loss):
    return Trainer(net, loss, cs.SGD(net.parameters()), calibrate=None)


def test_an_input_with_channels_first_warns():
    with pytest.warns(UserWarning, match="got 2 rows, 34 columns and 34 channels; write 34x34x2$"):
        cs.Network("2x34x34-4c3-10", cs.SRM())
    for right in ("34x34x2-10", "2x34x2-10", "3x3x3-10"):
        cs.Network(right, cs.SRM())


def test_a_loss_or_a_loader_of_another_step_warns():
    net = cs.Sequential(cs.Dense(3, 2), FINE)
    labels = np.array([0])
    of_step = "the network has a dt of 0.5 ms, the loss one of 1 ms"
    for loss, cure in (
        (cs.SpikeCountLoss(cs.SRM()), "give it neurons of the network, such as net[-1]"),
        (cs.CrossEntropyLoss("mean", window=(2, 5)), "pass dt=0.5"),
    ):
        with pytest.warns(UserWarning, match=f"{re.escape(of_step)}; {re.escape(cure)}$"):
            loss(net(np.ones((20, 1, 3), bool)), labels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss(net(np.ones((20, 1, 3), bool)), labels)  # once
    loader = Loader(Arrays(np.ones((4, 20, 3), bool), np.array([0, 1, 0, 1])), 4)
    message = "test: the loader has a dt of 1 ms, the network one of 0.5 ms"
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        trainer(net, lambda spikes, labels: (spikes * 1.0).sum()).test(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.ones((20, 1, 3), bool)
        cs.SpikeCountLoss(FINE)(net(x), labels)
        cs.CrossEntropyLoss("mean")(net(x), labels)
        cs.SpikeCountLoss(cs.SRM())(cs.Sequential(*net, lambda x: x[::2])(x), labels)
        cs.SpikeCountLoss(cs.SRM())(cs.Sequential(cs.Dense(3, 2))(x), labels)
