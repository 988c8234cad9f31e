"""Tests that the page of `demo` has Python's events, spikes and read-outs, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays, Digits
from cuslayer.inspection.structure import dt_at
from cuslayer.neurons.step import flushed, rint, trunc
from tests.support.pages import IMAGES, drawn_at_random, lively, seen

pytestmark = pytest.mark.all


def test_digits_have_the_spikes_of_python(page):
    """Digits of the test set, as a user's network sees them: through `Digits` and their `.bs2` files."""
    cs.seed(3)
    net = lively(*cs.Network("34x34x2-40-10", cs.SRM()).layers)
    there, test = page(net), Digits("test")
    for number in (0, 359):
        there.take(IMAGES[number])
        assert there.check_spikes(net, test[number][0].to_spikes((34, 34, 2), 300)[:, None]).sum() > 100


@pytest.mark.parametrize("image", ["nothing", "white", "noise"])
def test_any_image_on_any_sensor_has_pythons_events(page, image):
    """In bins of a tenth of a millisecond."""
    made = {"nothing": np.zeros((8, 8)), "white": np.full((8, 8), 16)}
    picture = made.get(image, np.random.default_rng(0).integers(0, 17, (8, 8)))
    net = cs.Network("13x20x2-6-3", cs.SRM(dt=0.1))
    there, expected = page(net, duration=150), seen(picture, (13, 20, 2), 1500, 0.1)
    there.take(picture)
    assert expected.any() == (image != "nothing")
    there.check_spikes(net, expected)


def delay(features, **options):
    layer = cs.Delay(features, max_delay=12.0, **options)
    layer.delay.data[:] = np.random.default_rng(0).uniform(0, 12, layer.delay.shape)
    return layer


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Quadratic(cs.StepNeuron):
    """A neuron of a user's own, with each operation that a step may have but for exp."""

    tau: float = 10.0
    states, decays = ("v", "count"), {"d": "tau"}
    start = {"v": 0.3, "count": 1.0}  # noqa: RUF012

    def step(c, d, v, count, x):
        u = flushed(
            d * v + 0.05 * abs(v) + 0.1 * max(min(v, 1.0), -1.0) ** 3 + min(max(x, -9.0), 9.0) + rint(x) - trunc(x)
        )
        s = u >= c.theta
        if s:
            v = -0.2
        else:
            v = u
        v = v if not (count > 1.5 or u < -5.0) else 0.5 * v
        count = (1.0 if s else 0.0) + count / 2.0
        return v, count, u, s


SHAPE = (9, 8, 2)
ONE = cs.SRM(tau_sr=4.0)
COARSE = {"weight_hook": lambda w: cs.functions.quantize(w, 0.25)}
ADAPTED = cs.AdLIF().spread(9, tau_u=(5, 25), tau_w=(60, 300), a=(0, 1), b=(0, 2))
NETWORKS = {
    "cnn": lambda: cs.Network("9x8x2-6c3-2a-8c3-2a-5", cs.SRM()).layers,
    "dense": lambda: [cs.Dense(SHAPE, 37), ONE, cs.Dense(37, 5), cs.SRM()],
    "never cut": lambda: [cs.Dense(SHAPE, 9), cs.SRM(cutoff=0.0, ref_cutoff=0.0), cs.Dense(9, 3), cs.SRM()],
    "fine steps": lambda: [cs.Dense(SHAPE, 9), cs.SRM(dt=0.3), cs.Dense(9, 3), cs.SRM(dt=0.3)],
    "any window": lambda: [
        *(cs.Conv(2, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), ONE),
        *(cs.SumPool(2, gain=2.9, stride=1, padding=1), ONE, cs.AvgPool((2, 3), stride=2), cs.SRM(theta=0.5)),
        *(cs.Dense((3, 3, 6), 4), cs.SRM()),
    ],
    "transposed": lambda: [
        *(cs.SumPool(3, gain=11.0), ONE, cs.ConvTranspose(2, 4, 3, stride=2, padding=1, groups=2), ONE),
        *(cs.layers.Unpool(2, gain=4.7), ONE, cs.Dense((10, 10, 4), 3), cs.SRM()),
    ],
    "delays": lambda: [
        *(delay(SHAPE, dt=1.0), cs.Dense(SHAPE, 9), delay(9, dt=1.0), cs.SRM(), cs.layers.Shift(3.0), cs.Dropout(0.5)),
        *(cs.Dense(9, 4), cs.SRM()),
    ],
    "ahead": lambda: [cs.Dense(SHAPE, 9), cs.SRM(), cs.layers.Shift(-4.0), cs.Dense(9, 4), cs.SRM()],
    "hook": lambda: [cs.Dense(SHAPE, 9, **COARSE), ONE, cs.Dense(9, 4), cs.SRM()],
    "nested": lambda: [cs.Sequential(cs.Dense(SHAPE, 9), cs.Sequential(ONE, cs.Dense(9, 4))), cs.SRM()],
    "votes": lambda: [cs.Dense(SHAPE, 12), cs.SRM(), cs.layers.Average(3)],
    "loihi": lambda: cs.Network("9x8x2-4c3-2a-20-4", cs.Loihi(ref_delay=3)).layers,
    "loihi's options": lambda: [
        *(cs.Dense(SHAPE, 9, weight_scale=50), cs.Loihi(wgt_exp=2, first_bin=False, surrogate_at="recorded")),
        *(cs.Dense(9, 4, weight_scale=9000), cs.Loihi()),
    ],
    "steps": lambda: [
        *(cs.Conv(2, 4, 3, bias=True, weight_scale=100.0), cs.LIF(tau=[3.0, 9, 20, 40])),
        *(cs.Dense((7, 6, 4), 30, weight_scale=10.0), cs.CUBA(), cs.Dense(30, 20, weight_scale=10.0)),
        *(cs.AdaptiveLIF(), cs.Dense(20, 20, weight_scale=10.0), cs.neurons.ResonateAndFire()),
        *(cs.Dense(20, 9, weight_scale=10.0), cs.neurons.NormalizedALIF(), cs.Dense(9, 9, weight_scale=10.0)),
        *(cs.neurons.BalancedResonateAndFire(), cs.Dense(9, 6, weight_scale=10.0), Quadratic()),
    ],
    "recurrent": lambda: [
        *(cs.Dense(SHAPE, 9), cs.Recurrent(cs.Dense(9, 9), ADAPTED), cs.Dense(9, 6), cs.BatchNorm(6)),
        *(
            cs.Recurrent(cs.Dense(6, 6, delays=cs.SynapticDelays(5.0)), cs.SRM(), delay=2.0),
            cs.ReadOut(6, 3, bias=True),
        ),
    ],
    "recurrent frames": lambda: [
        *(cs.Conv(2, 3, 3, padding=1), cs.Recurrent(cs.Conv(3, 3, 3, padding=1), cs.LIF())),
        *(
            cs.Dense((9, 8, 3), 9),
            cs.BatchNorm(9, trained=True, scale="none"),
            cs.LIF(),
            cs.ReadOut(9, 3, neuron=cs.SRM()),
        ),
    ],
    "delays of synapses": lambda: [
        *(cs.Dense(SHAPE, 40, delays=cs.SynapticDelays(9.0)), cs.LIF(), cs.Dense(40, 5, delays=cs.SynapticDelays(9.0))),
        *(cs.SRM(), cs.ReadOut(5, 3, tau=[5.0, 20.0, 90.0])),
    ],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_layer_and_neuron(page, name):
    cs.seed(2)
    net = lively(*NETWORKS[name]())
    dt = dt_at(net, 0)
    steps = round(300 / dt)
    there = page(net, shape=SHAPE)
    there.take(IMAGES[11])
    x = seen(IMAGES[11], SHAPE, steps, dt)
    assert there.check_spikes(net, x).any()
    check_weighted_input(there, net, x)


@pytest.mark.parametrize("shape", [(6, 5, 2), (12,), (1,)])
@pytest.mark.parametrize("numeric", [False, True])
def test_recordings_of_any_kind(page, shape, numeric):
    """Of lengths of their own, spikes or numbers, with classes or a label at each step."""
    cs.seed(4)
    draw, lengths = np.random.default_rng(0), (90, 60, 75)
    x = [
        draw.normal(size=(n, *shape)).astype(np.float32) * 3 if numeric else draw.random((n, *shape)) < 0.3
        for n in lengths
    ]
    first = cs.Dense(shape, 9, weight_scale=10.0)
    net = cs.Sequential(first, cs.Recurrent(cs.Dense(9, 9), cs.LIF()), cs.ReadOut(9, 3, bias=True))
    labels = [draw.integers(-1, 3, n) for n in lengths] if shape == (12,) else [2, 0, 1]
    there = page(net, recordings=Arrays(x, labels), names=["a", "bee", "c"], over="every" if shape == (12,) else "mean")
    assert there.shown("pad") == (shape == (6, 5, 2) and not numeric)
    order = range(3) if shape == (12,) else np.argsort(labels)
    for button, number in enumerate(order):
        there.answer(f"$('examples').children[{button}].click()")
        assert there.run("[model.steps, live.player.end]") == [lengths[number], lengths[number] - 1]
        out = there.check_spikes(net, x[number][:, None])[:, 0]
        if shape == (12,):
            leaders = there.run("[...live.outcome.leaders]")
            assert leaders == np.where(out.any(axis=1), out.argmax(axis=1), -1).tolist()
            there.run("live.player.play(false); live.player.move(40)")
            right = (out.argmax(axis=1) == labels[number])[:41].sum() / (labels[number][:41] >= 0).sum()
            assert f"{100 * right:.0f} % are right" in there.text("verdict")
        else:
            assert there.run("live.outcome.winner") == out.mean(axis=0).argmax()
            assert there.text("verdict").endswith(f"The true class is {['a', 'bee', 'c'][labels[number]]}.")
            shares = np.exp(out.mean(axis=0)) / np.exp(out.mean(axis=0)).sum()
            np.testing.assert_allclose(there.run(f"live.scores({len(out) - 1})"), shares, rtol=1e-5)


@pytest.mark.parametrize("over", ["sum", "mean", "max", "last"])
def test_a_read_out_decides_as_the_library(page, over):
    net = cs.Sequential(cs.Dense(7, 9, weight_scale=900), cs.Loihi(first_bin=False), cs.ReadOut(9, 3))
    x, first = np.random.default_rng(1).random((50, 2, 7)) < 0.3, 0 if over == "last" else 10
    there = page(net, recordings=(x, [0, 1]), over=over, window=(first, 50 if over == "last" else 40))
    there.answer("live.take(live.samples[0])")
    out = there.check_spikes(net, x[:, :1])[first : 50 if over == "last" else 40]
    assert there.run("live.outcome.winner") == cs.classify(out, over=over)[0]
    assert max(there.run("live.scores(49)")) == pytest.approx(cs.loss.confidence(out, over=over)[0])
    leaders = [-1] * first + cs.loss.running_decision(out, over=over)[:, 0].tolist()
    assert there.run("[...live.outcome.leaders]")[: len(leaders)] == leaders


@pytest.mark.parametrize("shape", [(12, 12, 1), (16, 24, 3), (70, 40, 2)])
def test_pixels_of_a_drawing_fire_at_random(page, shape):
    """In each channel by its own ink; those of a large frame share pixels of the drawing."""
    cs.seed(0)
    net = lively(cs.Dense(shape, 9), cs.SRM(), cs.Dense(9, 4), cs.SRM())
    there = page(net, recordings=None, shape=shape, drawing="poisson", rate=250.0, duration=80)
    rows, columns = there.run("live.draw.size")
    image = np.random.default_rng(1).integers(0, 17, (rows, columns, shape[2])) * (np.arange(columns) % 3 == 0)[:, None]
    there.take(image)
    x = drawn_at_random(image, shape, 80, 250.0)
    assert 0.02 < x.mean() < 0.1
    there.check_spikes(net, x)
    assert there.text("draw-heading") == "Draw one of the 4 classes, 0 to 3"
    # A stroke of each ink is in its channel, where it was drawn.
    for ink in range(shape[2]):
        drawn = there.run(f"[...pixelsOf(live.draw, [Object.assign([[0, 0.5], [1, 0.5]], {{ ink: {ink} }})])]")
        drawn = np.reshape(drawn, (rows, columns, shape[2]))
        assert drawn[rows // 2 - 1 : rows // 2 + 1, :, ink].min() > 4
        assert drawn.sum() == drawn[rows // 2 - 2 : rows // 2 + 2, :, ink].sum()


@pytest.mark.parametrize("name", ["dense", "votes", "loihi"])
def test_the_decision_is_that_of_the_library(page, name):
    cs.seed(5)
    net = lively(*NETWORKS[name]())
    there = page(net, shape=SHAPE)
    for number in (3, 40):
        there.take(IMAGES[number])
        with cs.no_grad():
            out = net(seen(IMAGES[number], SHAPE, 300)).data
        (winner,) = cs.classify(out).tolist()
        assert there.run("live.outcome.winner") == winner
        assert there.run("live.outcome.time * model.dt") == cs.loss.decision_time(out, [winner])[0]
        np.testing.assert_allclose(there.run("live.scores(299)"), out.sum(axis=0)[0], rtol=1e-5)
        assert there.run("[...live.outcome.leaders]") == cs.loss.running_decision(out)[:, 0].tolist()


def test_an_explanation_of_a_fixed_point_neuron_has_its_whole_potential(page):
    there = page(lively(*NETWORKS["loihi"]()), shape=SHAPE)
    there.take(IMAGES[11])
    there.run("choose(1, 40, model.times(1, 40)[0])")
    rows, u = there.run(
        "(() => { const why = model.explain(1, 40, chosen.time);"
        "return [partsOf(model, 1, why).map(({ name, size }) => [name, size]), why.potential]; })()"
    )
    assert rows == [["all that comes in", u]]
    assert u > 5120


def check_weighted_input(there, net, x):
    """Compare the weighted input of every layer of neurons, from the spikes of the layer before, to the bit."""
    y, layer = cs.Tensor(x), 0
    net.train(False)
    for stage in (node.stage for node in net.graph.nodes):
        if isinstance(stage, cs.Neuron):
            layer += 1
            found = there.run(
                f"(() => {{ const before = spikesAt(model.spikes({layer - 1}), model.steps);"
                f"const [start] = model.nodes[model.layers[{layer}].node].inputs;"
                f"const work = weighted(chainTo(model, start), before, model.steps, model.neurons({layer}));"
                "let step; while (!(step = work.next()).done); return [...step.value]; })()"
            )
            np.testing.assert_array_equal(np.float32(found), y.data.ravel())
        with cs.no_grad():
            y = stage(y)


def test_a_neuron_is_run_by_what_it_says_itself():
    @dataclass(frozen=True)
    class Own(cs.SRM):
        def __call__(self, x):
            return super().__call__(x * 2.0)

    class OwnLoihi(cs.Loihi):
        def __call__(self, x):
            return super().__call__(x * 2.0)

    assert [neuron.simulation for neuron in (Own(), OwnLoihi(), cs.LIF(stateful=True))] == [None] * 3
