"""Lessons in the page of `write_demo`: gradients are Python's, a drawing becomes right, and forgetting is complete."""

import json

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits
from tests.support.pages import IMAGES, lively, seen

pytestmark = pytest.mark.all

SHAPE = (9, 8, 2)
NETWORKS = {
    "dense": lambda: [cs.Dense(SHAPE, 12), cs.SRM(), cs.Dense(12, 5), cs.SRM(gradient="exact")],
    "votes": lambda: [cs.Dense(SHAPE, 12), cs.SRM(), cs.layers.Average(3)],
    "cnn": lambda: cs.Network("9x8x2-6c3-2a-5", cs.SRM()).layers,
    "transposed": lambda: [
        *(cs.Conv(2, 4, 3, stride=2, groups=2), cs.SRM(), cs.ConvTranspose(4, 2, 3, stride=2), cs.SRM()),
        *(cs.Dense((9, 7, 2), 3), cs.SRM()),
    ],
}
# The gradient of each learner's weight for a target.
GRADIENTS = """(() => {
  const { scores } = decide(model);
  setErrors(model, [...scores.subarray(scores.length - model.output.classes)], 1);
  return learners(model).map(({ layer, node }) => {
    const work = gradientOf(model, layer, node);
    let step;
    while (!(step = work.next()).done);
    return [...step.value];
  });
})()"""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_python(page, name):
    cs.seed(2)
    net = lively(*NETWORKS[name]())
    there = page(net, shape=SHAPE)
    there.take(IMAGES[11])
    out = net(seen(IMAGES[11], SHAPE, 300))
    counts = (out * 1.0).sum(axis=0)[0]
    (cs.logsumexp(counts) - counts[1]).backward()
    weights = [node.stage.weight for node in net.graph.nodes if hasattr(node.stage, "weight_hook")]
    gradients = [weight.grad.ravel() for weight in weights if weight is not None and weight.grad is not None]
    for gradient, expected in zip(there.run(GRADIENTS), gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
        assert np.abs(expected).max() > 0


def teach(there, label):
    there.run(f"performance.clearMarks('lesson'); $('truth').value = {label}; $('learn').click()")
    assert there.wait("performance.getEntriesByName('lesson').length === 1")


def changed_weights(there):
    return [np.float32(w) for w in there.run("learners(model).map(({ node }) => [...numbers(node.weight)])")]


def test_a_lesson_makes_a_drawing_right_and_forgetting_brings_the_old_weights_back(page):
    cs.seed(3)
    net = lively(*cs.Network("34x34x2-40-10", cs.SRM()).layers)
    weights = [layer.weight for layer in net.layers[::2]]
    before = [weight.data.copy() for weight in weights]
    there = page(net)
    there.run("$('clear').click()")
    assert there.run("$('learn').disabled && $('forget').disabled")
    there.answer("live.take(live.samples[7])")
    assert there.run("Number($('truth').value) === live.samples[7].label && live.samples[7].label > 0")
    there.take(IMAGES[0])
    first = there.run("live.outcome.winner")
    spikes = there.spikes(2)
    label = (first + 1) % 10
    assert there.run("Number($('truth').value)") == first
    teach(there, first)
    assert there.text("lesson") == f"It says {first} already."
    assert not there.shown("changes")
    for _ in range(9):
        teach(there, label)
        if there.run("live.outcome.winner") == label:
            break
    assert there.text("lesson").startswith(f"Learned: it is {label}.")
    assert there.text("verdict").startswith(f"The answer is {label},")
    # What runs in the page is the network with these weights.
    for weight, changed, old in zip(weights, changed_weights(there), before, strict=True):
        weight.data = changed.reshape(weight.shape)
        assert 0 < np.count_nonzero(weight.data != old) < 0.3 * old.size
    out = there.check_spikes(net, seen(IMAGES[0], (34, 34, 2), 300))
    assert cs.classify(out)[0] == label
    assert there.shown("change")
    rows = there.run("[...$('changed').children].map((row) => row.textContent)")
    counts = [np.count_nonzero(weight.data != old) for weight, old in zip(weights, before, strict=True)]
    assert [row.split(": ")[1].split(" of")[0] for row in rows] == [f"{count:,}" for count in counts]
    painted = there.run("[...$('change').getContext('2d').getImageData(0, 0, 34, 34).data]")
    touched = np.abs(weights[0].data - before[0]).reshape(34 * 34, -1).any(axis=1)
    assert not np.reshape(painted, (-1, 4))[~touched, 3].any()
    assert np.reshape(painted, (-1, 4))[touched, 3].any()
    there.answer("$('forget').click()")
    assert there.run("live.outcome.winner") == first
    assert there.spikes(2) == spikes
    for changed, old in zip(changed_weights(there), before, strict=True):
        np.testing.assert_array_equal(changed, old.ravel())
    assert not there.shown("changes")
    assert there.run("$('forget').disabled")


def test_rare_inputs_change_more(page):
    there = page(lively(*NETWORKS["dense"]()), shape=SHAPE)
    moved = there.run(
        "(() => { const node = { weight: { array: new Float32Array(400).fill(1) }, outputs: 4,"
        "  usual: { array: Float32Array.from({ length: 100 }, (_, i) => ({ 7: 0, 9: 0.5 })[i] ?? 1) } };"
        " descend(node, new Float64Array(400).fill(1)); return [...node.weight.array]; })()"
    )
    np.testing.assert_array_equal(np.flatnonzero(np.array(moved) != 1.0), [*range(28, 32), *range(36, 40)])
    np.testing.assert_allclose((1 - moved[28]) / (1 - moved[36]), (0.5 / 0.985 + 0.05) / 0.05, rtol=1e-3)
    net = cs.Sequential(cs.Dense((34, 34, 2), 9), cs.SRM(), cs.Dense(9, 4), cs.SRM())
    usual = page(net).run("model.nodes.map(({ usual }) => usual ? [...numbers(usual)] : null)")
    mean = np.mean([Digits("test")[i][0].to_spikes((34, 34, 2), 300, 1.0) for i in range(8)], axis=(0, 1))
    np.testing.assert_allclose(usual[1], mean.ravel(), rtol=1e-5)
    assert len(usual[3]) == 9


def test_a_page_whose_errors_are_unknown_teaches_nothing(page):
    loihi = cs.Sequential(cs.Dense(SHAPE, 9), cs.Loihi(), cs.Dense(9, 4), cs.Loihi())
    assert not page(loihi, shape=SHAPE).shown("teach")
    biased = cs.Sequential(cs.Dense(SHAPE, 9, bias=True), cs.SRM(), cs.Dense(9, 4), cs.SRM())
    assert not page(biased, shape=SHAPE).shown("teach")


def test_numbers_teach_the_layers_after_the_first(page):
    """The weighted input of the first neurons is Python's, and stays."""
    cs.seed(4)
    net = lively(cs.Dense(6, 30), cs.SRM(), cs.Dense(30, 3), cs.SRM())
    x = np.random.default_rng(0).normal(size=(90, 2, 6)).astype(np.float32) * 8
    there = page(net, recordings=(x, [0, 1]))
    there.answer("live.take(live.samples[0])")
    other = (there.run("live.outcome.winner") + 1) % 3
    teach(there, other)
    assert json.loads(there.run("JSON.stringify(learners(model, live.given).map(({ layer }) => layer))")) == [2]
    assert there.run("model.nodes.map(({ before }) => Boolean(before))") == [False, False, False, True, False]
