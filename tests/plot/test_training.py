"""Plots of a training: learning curves and gradient flow."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.training import EpochStats, GradientFlow

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
    ax = cs.plot.learning_curves(ROWS, value=value)
    lines = drawn(ax)
    assert list(lines) == ["train", "test"]
    for name, values in (("train", train), ("test", test)):
        assert list(lines[name][0]) == [1, 2, 4]
        np.testing.assert_array_equal(lines[name][1], values)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", label, scale)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]


def test_learning_curves_of_a_log():
    stats = cs.Stats(ROWS)
    figure = Figure()
    ax = figure.subplots()
    assert cs.plot.learning_curves(stats, ax) is ax
    assert list(drawn(ax)["train"][1]) == [4.0, 2.0, 1.0]


def test_learning_curves_of_little():
    assert not cs.plot.learning_curves([]).get_lines()
    ax = cs.plot.learning_curves([EpochStats(1, 0.0, None, None, None, 1.0)])
    assert (list(drawn(ax)), ax.get_yscale()) == (["train"], "linear")
    assert not cs.plot.learning_curves([EpochStats(1, 1.0, None, None, None, 1.0)], value="accuracy").get_lines()


def test_gradient_flow_of_a_network():
    flow = GradientFlow(cs.Sequential(cs.Dense(2, 2)))
    flow.epochs = [{"0 Dense": 0.5}, {"0 Dense": 0.125}]
    ax = cs.plot.gradient_flow(flow)
    epochs, sizes = drawn(ax)["0 Dense"]
    assert (list(epochs), list(sizes), ax.get_yscale()) == ([1, 2], [0.5, 0.125], "log")


def test_many_layers_have_a_legend_beside():
    few, many = (cs.plot.gradient_flow([{str(n): 1.0 + n for n in range(count)}]) for count in (4, 9))
    for ax in (few, many):
        ax.figure.canvas.draw()
    inside = [ax.get_legend().get_window_extent().x0 < ax.get_window_extent().x1 for ax in (few, many)]
    assert inside == [True, False]
    assert (
        len(
            {
                line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
                for line in many.get_lines()
            }
        )
        == 9
    )


@pytest.mark.parametrize(
    ("kind", "message", "draw"),
    [
        (
            ValueError,
            "learning_curves: value must be one of loss, accuracy, got 'acuracy'; did you mean accuracy?",
            lambda: cs.plot.learning_curves(ROWS, value="acuracy"),
        ),
        (
            TypeError,
            "learning_curves: a row must have train_loss, got dict",
            lambda: cs.plot.learning_curves([{"train_loss": 1.0}]),
        ),
        (TypeError, "learning_curves: ax must be matplotlib Axes, got str", lambda: cs.plot.learning_curves(ROWS, "x")),
        (
            TypeError,
            "gradient_flow: an epoch must be a mapping of sizes by name, got float",
            lambda: cs.plot.gradient_flow([1.0]),
        ),
        (TypeError, "gradient_flow: ax must be matplotlib Axes, got int", lambda: cs.plot.gradient_flow([], 1)),
    ],
)
def test_errors(kind, message, draw):
    with pytest.raises(kind, match=re.escape(message)):
        draw()


def test_a_cell_is_shaded_by_its_share_of_the_class():
    ax = cs.plot.confusion([0, 0, 0, 0, 1], [0, 0, 0, 1, 1])
    assert ax.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]


@pytest.mark.parametrize(("classes", "written"), [(20, 3), (21, 0)])
def test_numbers_are_in_the_cells_of_up_to_twenty_classes(classes, written):
    assert len(cs.plot.confusion([0, 1, 19], [0, 2, 19], classes=classes).texts) == written


def test_losses_of_which_one_is_0_have_no_logarithm():
    for losses, scale in (([2.0, 0.5], "log"), ([2.0, 0.0], "linear"), ([0.0, 0.5], "linear")):
        rows = [cs.training.EpochStats(n, loss, 0.5, None, None, 1.0) for n, loss in enumerate(losses, 1)]
        assert cs.plot.learning_curves(rows).get_yscale() == scale
        sizes = [{"0 Dense": size, "2 Dense": 1.0} for size in losses]
        assert cs.plot.gradient_flow(sizes).get_yscale() == scale
