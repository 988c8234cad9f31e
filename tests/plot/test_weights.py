"""Plots of weights and of decisions: receptive fields and the confusion matrix."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs


def tile(ax, number):
    """Return the cells of a tile, found by its outline."""
    outline = ax.patches[number]
    column, row = round(outline.get_x() + 0.5), round(outline.get_y() + 0.5)
    height, width = outline.get_height(), outline.get_width()
    return np.ma.filled(ax.images[0].get_array()[row : row + height, column : column + width], np.nan)


# Receptive fields


def test_the_fields_of_a_dense_layer():
    layer = cs.Dense((3, 4, 2), 5)
    ax = cs.plot.receptive_fields(layer)
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "3", "4"]
    maps = layer.weight.data.reshape(3, 4, 2, 5)
    for neuron in range(5):
        drawn = tile(ax, neuron)
        # Channel 0 is above channel 1, with an empty row between.
        assert drawn.shape == (7, 4)
        assert np.array_equal(drawn[:3], maps[:, :, 0, neuron])
        assert np.array_equal(drawn[4:], maps[:, :, 1, neuron])
        assert np.isnan(drawn[3]).all()
    assert ax.yaxis_inverted()


def test_red_excites_and_white_is_zero():
    weight = np.array([[0.5, -0.25], [0.0, 1.0]])
    ax = cs.plot.receptive_fields(weight, shape=(1, 2, 1))
    image = ax.images[0]
    assert image.get_clim() == (-1.0, 1.0)
    red, _, blue, _ = image.to_rgba(np.array([1.0]))[0]
    assert red > blue
    red, _, blue, _ = image.to_rgba(np.array([-1.0]))[0]
    assert red < blue
    assert np.allclose(image.to_rgba(np.array([0.0]))[0], 1.0, atol=0.05)
    assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["weight"]


def test_the_kernels_of_a_convolution():
    layer = cs.Conv(2, 6, (3, 5), groups=2)
    ax = cs.plot.receptive_fields(layer, neurons=[4, 1], columns=1)
    assert [text.get_text() for text in ax.texts] == ["4", "1"]
    assert np.array_equal(tile(ax, 0), layer.weight.data[:, :, 0, 4])
    assert np.array_equal(tile(ax, 1), layer.weight.data[:, :, 0, 1])
    tops = [patch.get_y() for patch in ax.patches]
    assert tops[0] < tops[1]
    assert ax.patches[0].get_x() == ax.patches[1].get_x()


def test_the_weight_is_drawn_as_it_is_used():
    layer = cs.Dense((2, 2, 1), 1, weight_hook=lambda weight: weight * 2.0)
    assert np.array_equal(tile(cs.plot.receptive_fields(layer), 0), 2 * layer.weight.data.reshape(2, 2))


def test_a_weight_alone_and_what_its_inputs_are():
    weight = cs.Tensor(np.arange(12.0).reshape(6, 2))
    assert tile(cs.plot.receptive_fields(weight, shape=(2, 3, 1)), 1).tolist() == [[1, 3, 5], [7, 9, 11]]
    assert tile(cs.plot.receptive_fields(cs.Dense(6, 2), shape=[3, 2, 1]), 0).shape == (3, 2)


def test_fields_of_little():
    ax = cs.plot.receptive_fields(np.zeros((1, 1, 1, 1)))
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    ax.figure.savefig(io.BytesIO())


def test_fields_fit_where_they_are_drawn():
    narrow, wide = Figure(figsize=(2, 6)).subplots(), Figure(figsize=(12, 1.2)).subplots()
    for ax in (narrow, wide):
        assert cs.plot.receptive_fields(np.ones((5, 5, 1, 12)), ax) is ax
    lefts = [len({patch.get_x() for patch in ax.patches}) for ax in (narrow, wide)]
    assert lefts[0] < lefts[1] == 12


@pytest.mark.parametrize(
    ("kind", "message", "of", "options"),
    [
        (
            ValueError,
            "the weight must be (inputs, outputs) or (kh, kw, channels, maps), got shape (3,)",
            np.ones(3),
            {},
        ),
        (TypeError, "the weight must be float32 or float64, got int64", np.ones((4, 1), np.int64), {}),
        (ValueError, "shape must be (H, W, C) of a dense layer's inputs, got None", np.ones((4, 1)), {}),
        (ValueError, "shape must be (H, W, C) of a dense layer's inputs, got (4,)", cs.Dense(4, 1), {}),
        (ValueError, "shape must be (H, W, C) of a dense layer's inputs, got 4", np.ones((4, 1)), {"shape": 4}),
        (ValueError, "shape (2, 2, 2) has 8 inputs, the weight has 4", np.ones((4, 1)), {"shape": (2, 2, 2)}),
        (ValueError, "shape must be at least 1, got 0", np.ones((4, 1)), {"shape": (0, 2, 2)}),
        (TypeError, "shape must be an integer, got float", np.ones((4, 1)), {"shape": (2.0, 2, 1)}),
        (
            ValueError,
            "neurons must be named where there are more than 64, got 65",
            np.ones((4, 65)),
            {"shape": (2, 2, 1)},
        ),
        (IndexError, "neuron 3 lies outside a layer of shape (3,)", np.ones((1, 1, 1, 3)), {"neurons": 3}),
        (
            ValueError,
            "there must be a neuron with inputs, got a weight of shape (1, 1, 1, 0)",
            np.ones((1, 1, 1, 0)),
            {},
        ),
        (
            ValueError,
            "there must be a neuron with inputs, got a weight of shape (1, 1, 1, 3)",
            np.ones((1, 1, 1, 3)),
            {"neurons": []},
        ),
        (ValueError, "columns must be at least 1, got 0", np.ones((1, 1, 1, 3)), {"columns": 0}),
        (TypeError, "ax must be matplotlib Axes, got list", np.ones((1, 1, 1, 3)), {"ax": []}),
    ],
)
def test_what_receptive_fields_refuse(kind, message, of, options):
    with pytest.raises(kind, match=re.escape(f"receptive_fields: {message}")):
        cs.plot.receptive_fields(of, **options)


# Confusion


def test_confusion_has_the_truth_downward():
    ax = cs.plot.confusion([0, 0, 0, 0, 2], [0, 1, 1, 1, 2])
    assert ax.images[0].get_array().tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    counts = {text.get_position(): text.get_text() for text in ax.texts}
    assert counts == {(0, 0): "1", (1, 0): "3", (2, 2): "1"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("taken for", "class")
    assert ax.get_title(loc="left") == "40.0% of 5 right"
    assert ax.yaxis_inverted()
    assert ax.images[0].get_clim() == (0.0, 1.0)


def test_confusion_of_named_classes():
    ax = cs.plot.confusion(
        np.array([0]), cs.Tensor(np.array([1.0])).data.astype(int), names=["left", "right", "none"], classes=3
    )
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["left", "right", "none"]
    assert ax.images[0].get_array()[0].tolist() == [0.0, 1.0, 0.0]


def test_confusion_of_many_classes_and_of_none():
    ax = cs.plot.confusion(np.arange(30), np.arange(30))
    assert not ax.texts
    ax = cs.plot.confusion([], [], classes=2)
    assert ax.get_title(loc="left") == "no samples"
    ax.figure.savefig(io.BytesIO())


def test_confusion_takes_what_classify_returns():
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
        (TypeError, "classes must be an integer, got float", [0], [0], {"classes": 2.0}),
        (ValueError, "names must be as many as the classes, got 1 and 2", [0], [1], {"names": ["a"]}),
        (TypeError, "ax must be matplotlib Axes, got int", [0], [1], {"ax": 1}),
    ],
)
def test_what_confusion_refuses(kind, message, labels, predicted, options):
    with pytest.raises(kind, match=re.escape(f"confusion: {message}")):
        cs.plot.confusion(labels, predicted, **options)
