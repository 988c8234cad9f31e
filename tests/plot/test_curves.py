"""Plots of a training: learning curves, gradient flow, and the confusion matrix."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.training import EpochStats, GradientFlow
from tests.plot.test_neurons import names, refused

ROWS = [
    EpochStats(1, 4.0, 0.2, None, None, 1.0),
    EpochStats(2, 2.0, 0.5, 3.0, 0.4, 1.0),
    EpochStats(4, 1.0, 0.8, 2.5, 0.6, 1.0),
]


def drawn(ax):
    return {line.get_label(): line.get_data() for line in ax.get_lines()}


@pytest.mark.parametrize(
    ("value", "train", "test", "label", "scale"),
    [
        ("loss", [4.0, 2.0, 1.0], [np.nan, 3.0, 2.5], "loss of a sample", "log"),
        ("accuracy", [0.2, 0.5, 0.8], [np.nan, 0.4, 0.6], "accuracy (%)", "linear"),
    ],
)
def test_learning_curves(value, train, test, label, scale):
    for rows in (ROWS, cs.Stats(ROWS)):
        ax = cs.plot.learning_curves(rows, Figure().subplots(), value=value)
        lines = drawn(ax)
        assert list(lines) == names(ax) == ["train", "test"]
        for name, values in (("train", train), ("test", test)):
            assert list(lines[name][0]) == [1, 2, 4]
            np.testing.assert_array_equal(lines[name][1], values)
        assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", label, scale)


def test_curves_of_little_and_losses_of_which_one_is_0():
    assert not cs.plot.learning_curves([]).get_lines()
    assert not cs.plot.learning_curves([EpochStats(1, 1.0, None, None, None, 1.0)], value="accuracy").get_lines()
    for losses, scale in (([2.0, 0.5], "log"), ([2.0, 0.0], "linear"), ([0.0, 0.5], "linear")):
        rows = [EpochStats(n, loss, 0.5, None, None, 1.0) for n, loss in enumerate(losses, 1)]
        assert cs.plot.learning_curves(rows).get_yscale() == scale
        assert cs.plot.gradient_flow([{"0 Dense": size, "2 Dense": 1.0} for size in losses]).get_yscale() == scale


def test_gradient_flow():
    flow = GradientFlow(cs.Sequential(cs.Dense(2, 2)))
    flow.epochs = [{"0 Dense": 0.5}, {"0 Dense": 0.125}]
    ax = cs.plot.gradient_flow(flow)
    epochs, sizes = drawn(ax)["0 Dense"]
    assert (list(epochs), list(sizes), ax.get_yscale()) == ([1, 2], [0.5, 0.125], "log")
    gaps = drawn(cs.plot.gradient_flow([{"a": 1.0}, {}, {"a": 0.0, "b": 2.0}]))
    np.testing.assert_array_equal(gaps["a"][1], [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(gaps["b"][1], [np.nan, np.nan, 2.0])
    few, many = (cs.plot.gradient_flow([{str(n): 1.0 + n for n in range(count)}]) for count in (4, 9))
    for ax in (few, many):
        ax.figure.canvas.draw()
    inside = [ax.get_legend().get_window_extent().x0 < ax.get_window_extent().x1 for ax in (few, many)]
    assert inside == [True, False]
    assert len({str(line.get_color()) for line in many.get_lines()}) == 9


def test_what_curves_refuse():
    refused(
        cs.plot.learning_curves,
        [
            (ValueError, "value must be one of loss, accuracy, got 'acuracy'", ROWS, {"value": "acuracy"}),
            (TypeError, "a row must have train_loss, got dict", [{"train_loss": 1.0}], {}),
            (TypeError, "ax must be matplotlib Axes, got str", ROWS, {"ax": "x"}),
        ],
    )
    refused(
        cs.plot.gradient_flow,
        [
            (TypeError, "an epoch must be a mapping of sizes by name, got float", [1.0], {}),
            (TypeError, "ax must be matplotlib Axes, got int", [], {"ax": 1}),
        ],
    )


def test_confusion_has_the_truth_downward():
    ax = cs.plot.confusion([0, 0, 0, 0, 2], [0, 1, 1, 1, 2])
    assert ax.images[0].get_array().tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert {text.get_position(): text.get_text() for text in ax.texts} == {(0, 0): "1", (1, 0): "3", (2, 2): "1"}
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")) == ("taken for", "class", "40.0% of 5 right")
    assert ax.yaxis_inverted()
    assert ax.images[0].get_clim() == (0.0, 1.0)


def test_confusion_of_names_of_many_classes_and_of_none():
    ax = cs.plot.confusion(np.array([0]), cs.Tensor(np.array([1.0])).data.astype(int), names=["a", "b", "c"], classes=3)
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["a", "b", "c"]
    assert ax.images[0].get_array()[0].tolist() == [0.0, 1.0, 0.0]
    assert [len(cs.plot.confusion([0, 1, 19], [0, 2, 19], classes=n).texts) for n in (20, 21)] == [3, 0]
    ax = cs.plot.confusion([], [], classes=2)
    assert ax.get_title(loc="left") == "no samples"
    ax.figure.savefig(io.BytesIO())
    spikes = np.zeros((5, 2, 3), bool)
    spikes[:2, 0, 1] = spikes[:3, 1, 2] = True
    ax = cs.plot.confusion([1, 0], cs.classify(spikes))
    assert ax.images[0].get_array().tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("kind", "message", "labels", "predicted", "options"),
    [
        (ValueError, "labels has shape (2,), predicted has shape (1,)", [0, 1], [0], {}),
        (ValueError, "labels must be (N,), got shape (1, 2)", [[0, 1]], [0, 1], {}),
        (TypeError, "predicted must be integers, got float64", [0], [0.5], {}),
        (ValueError, "labels must be classes from 0, got -1", [-1], [0], {}),
        (ValueError, "a class must be under 2, got 2", [0], [2], {"classes": 2}),
        (ValueError, "classes must be at least 1, got 0", [], [], {}),
        (ValueError, "names must be as many as the classes, got 1 and 2", [0], [1], {"names": ["a"]}),
        (TypeError, "ax must be matplotlib Axes, got int", [0], [1], {"ax": 1}),
    ],
)
def test_what_confusion_refuses(kind, message, labels, predicted, options):
    refused(cs.plot.confusion, [(kind, message, labels, {"predicted": predicted})], **options)
