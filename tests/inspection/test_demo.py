"""Tests that the page of `demo` has Python's events and spikes, bit for bit in count and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits
from cuslayer.inspection.structure import dt_at
from cuslayer.network.network import graph_of
from tests.support import browser
from tests.support.pages import IMAGES, Page, lively, seen


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield Page(opened)


@pytest.fixture
def page(there, tmp_path):
    """Return a function that opens the page of a network; fail if the page leaves an error on its console."""

    def opened(net, **options):
        there.open(cs.write_demo(net, tmp_path / "demo.html", **options))
        return there

    yield opened
    assert there.there.said == []


def test_digits_have_the_spikes_of_python(page):
    """Digits of the test set, as a user's network sees them: through `Digits` and their `.bs2` files."""
    cs.seed(3)
    net = lively(*cs.Network("34x34x2-40-10", cs.SRM()).layers)
    there, test = page(net), Digits("test")
    for number in (0, 359):
        there.take(IMAGES[number])
        assert there.check_spikes(net, test[number][0].to_spikes((34, 34, 2), 300)[:, None]) > 100


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


SHAPE = (9, 8, 2)
ONE = cs.SRM(tau_sr=4.0)
NETWORKS = {
    "cnn": lambda: cs.Network("9x8x2-6c3-2a-8c3-2a-5", cs.SRM()).layers,
    "dense": lambda: [cs.Dense(SHAPE, 37), ONE, cs.Dense(37, 5), cs.SRM()],
    "never cut": lambda: [cs.Dense(SHAPE, 9), cs.SRM(cutoff=0.0, ref_cutoff=0.0), cs.Dense(9, 3), cs.SRM()],
    "fine steps": lambda: [cs.Dense(SHAPE, 9), cs.SRM(dt=0.3), cs.Dense(9, 3), cs.SRM(dt=0.3)],
    "any window": lambda: [
        *(cs.Conv(2, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), ONE),
        *(cs.SumPool(2, gain=2.9, stride=1, padding=1), ONE, cs.Dense((6, 7, 6), 4), cs.SRM()),
    ],
    "transposed": lambda: [
        *(cs.SumPool(3, gain=11.0), ONE, cs.ConvTranspose(2, 4, 3, stride=2, padding=1, groups=2), ONE),
        *(cs.Unpool(2, gain=4.7), ONE, cs.Dense((10, 10, 4), 3), cs.SRM()),
    ],
    "delays": lambda: [
        *(delay(SHAPE, dt=1.0), cs.Dense(SHAPE, 9), delay(9, dt=1.0), cs.SRM(), cs.layers.Shift(3.0), cs.Dropout(0.5)),
        *(cs.Dense(9, 4), cs.SRM()),
    ],
    "ahead": lambda: [cs.Dense(SHAPE, 9), cs.SRM(), cs.layers.Shift(-4.0), cs.Dense(9, 4), cs.SRM()],
    "hook": lambda: [
        cs.Dense(SHAPE, 9, weight_hook=lambda w: cs.functions.quantize(w, 0.25)),
        ONE,
        cs.Dense(9, 4),
        cs.SRM(),
    ],
    "nested": lambda: [cs.Sequential(cs.Dense(SHAPE, 9), cs.Sequential(ONE, cs.Dense(9, 4))), cs.SRM()],
    "votes": lambda: [cs.Dense(SHAPE, 12), cs.SRM(), cs.Average(3)],
    "loihi": lambda: cs.Network("9x8x2-4c3-2a-20-4", cs.Loihi(ref_delay=3)).layers,
    "loihi's options": lambda: [
        *(cs.Dense(SHAPE, 9, weight_scale=50), cs.Loihi(wgt_exp=2, first_bin=False, surrogate_at="recorded")),
        *(cs.Dense(9, 4, weight_scale=9000), cs.Loihi()),
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
    assert there.check_spikes(net, x) > 20
    check_weighted_input(there, net, x)


def test_recordings_of_a_live_report(there, tmp_path):
    cs.seed(4)
    net = cs.Network("6x5x2-8-3", cs.SRM())
    x = np.random.default_rng(0).random((90, 2, 6, 5, 2)) < np.array([0.02, 0.4])[:, None, None, None]
    there.open(cs.write_report(net, x, tmp_path / "live.html", target=[2, 0], live=True, title="Two"))
    assert there.run("document.title") == "Two"
    for number, label in ((0, 2), (1, 0)):
        there.answer(f"$('recordings').children[{number}].click()")
        there.check_spikes(net, x[:, number : number + 1])
        assert f"true class is {label}." in there.text("verdict")
    assert there.there.said == []


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
        np.testing.assert_allclose(there.run("live.outcome.counts"), out.sum(axis=0)[0], rtol=1e-5)
        running = cs.loss.running_decision(out)[:, 0]
        assert there.run("Array.from({ length: 300 }, (_, t) => leader(model, t))") == running.tolist()


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
    for stage in (node.stage for node in graph_of(net).nodes):
        if isinstance(stage, cs.Neuron):
            layer += 1
            found = there.run(
                f"(() => {{ const before = spikesAt(model.spikes({layer - 1}), model.steps);"
                f"const work = weighted(chainTo(model, {layer}), before, model.steps, model.neurons({layer}));"
                "let step; while (!(step = work.next()).done); return [...step.value]; })()"
            )
            np.testing.assert_array_equal(np.float32(found), y.data.ravel())
        with cs.no_grad():
            y = stage(y)


def test_a_neuron_is_simulated_by_what_it_says_itself():
    @dataclass(frozen=True)
    class Own(cs.SRM):
        def __call__(self, x):
            return super().__call__(x * 2.0)

    class OwnLoihi(cs.Loihi):
        def __call__(self, x):
            return super().__call__(x * 2.0)

    assert [neuron.simulation(9) for neuron in (Own(), OwnLoihi())] == [None, None]
    found = cs.SRM(tau_sr=2.0).simulation(9)
    # A filter that is cut after the last step is not cut.
    assert found["kind"] == "alpha"
    assert found["response"]["cut"] == 0
    assert cs.Loihi(first_bin=False).simulation(9)["first"] == 1
