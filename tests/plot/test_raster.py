"""Raster plots: what is drawn and where, so that a swapped axis fails."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.plot.style import LIGHT
from tests.support.pictures import image_spikes, marks


def test_a_raster_has_time_to_the_right_and_neurons_upward():
    spikes = np.zeros((20, 1, 3), bool)
    spikes[4, 0, 2] = spikes[15, 0, 0] = True
    ax = cs.plot.raster(spikes, dt=0.5)
    (line,) = ax.get_lines()
    assert marks(line) == [(2.0, 2), (7.5, 0)]
    assert ax.get_xlim() == (0.0, 10.0)
    assert ax.get_ylim() == (-0.5, 2.5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "neuron")
    assert ax.get_legend() is None
    assert line.get_linestyle() == "None"


def test_a_raster_shows_the_sample_that_is_asked_for():
    (line,) = cs.plot.raster(image_spikes(), sample=1).get_lines()
    assert marks(line) == [(1.0, 16), (7.0, 7), (8.0, 7)]
    (line,) = cs.plot.raster(image_spikes()).get_lines()
    assert marks(line) == [(5.0, 10)]
    (line,) = cs.plot.raster(image_spikes()[:, 1], sample=None).get_lines()
    assert len(marks(line)) == 3


def test_a_raster_colours_polarities():
    ax = cs.plot.raster(image_spikes(), sample=1, groups="channel")
    off, on = ax.get_lines()
    assert (marks(off), marks(on)) == ([(1.0, 16)], [(7.0, 7), (8.0, 7)])
    assert (off.get_color(), on.get_color()) == LIGHT.polarities
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["OFF", "ON"]


def test_a_raster_colours_classes():
    spikes = np.eye(4, dtype=bool)[:, None]
    ax = cs.plot.raster(spikes, groups=np.array([1, 0, 1, 0]), labels=["left", "right"])
    left, right = ax.get_lines()
    assert (marks(left), marks(right)) == ([(1.0, 1), (3.0, 3)], [(0.0, 0), (2.0, 2)])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]
    lines = cs.plot.raster(spikes, groups="channel").get_lines()
    assert [line.get_label() for line in lines] == ["0", "1", "2", "3"]
    assert [marks(line) for line in lines] == [[(float(n), n)] for n in range(4)]


def test_there_is_a_colour_for_each_of_many_groups():
    assert len({tuple(np.atleast_1d(shade).tolist()) for shade in LIGHT.series(30)}) == 30
    assert len(cs.plot.raster(np.ones((2, 1, 30), bool), groups="channel").get_lines()) == 30


def test_a_raster_takes_tensors_and_counts():
    data = np.zeros((5, 1, 2), bool)
    data[3, 0, 1] = True
    for spikes in (cs.Tensor(data), data.astype(np.uint8)):
        assert marks(cs.plot.raster(spikes).get_lines()[0]) == [(3.0, 1)]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1), (0, 1, 3), (5, 1, 0), (4, 1, 2, 2, 0)])
@pytest.mark.parametrize("groups", [None, "channel"])
def test_a_raster_of_little(shape, groups):
    ax = cs.plot.raster(np.ones(shape, bool), groups=groups if len(shape) > 2 else None)
    drawn = sum(len(line.get_xdata()) for line in ax.get_lines())
    assert drawn == np.prod(shape)
    assert ax.get_xlim()[1] > ax.get_xlim()[0]
    assert ax.get_ylim()[1] > ax.get_ylim()[0]
    ax.figure.savefig(io.BytesIO())


def test_many_spikes_are_dots_and_one_picture():
    few = cs.plot.raster(np.ones((3, 1, 4), bool)).get_lines()[0]
    many = cs.plot.raster(np.ones((30, 1, 800), bool)).get_lines()[0]
    assert (few.get_marker(), many.get_marker()) == ("|", ".")
    assert (few.get_rasterized(), many.get_rasterized()) == (False, True)


@pytest.mark.parametrize(
    ("kind", "message", "spikes", "options"),
    [
        (ValueError, "raster: spikes must be (T, N, ...), got shape (3,)", np.ones(3, bool), {}),
        (ValueError, "raster: spikes must be (T, ...), got shape ()", np.ones((), bool), {"sample": None}),
        (IndexError, "raster: sample must be under 2, got 2", np.ones((3, 2, 1), bool), {"sample": 2}),
        (IndexError, "raster: sample must be at least 0, got -1", np.ones((3, 2, 1), bool), {"sample": -1}),
        (TypeError, "raster: sample must be an integer, got str", np.ones((3, 2, 1), bool), {"sample": "0"}),
        (TypeError, "raster: spikes must be booleans or counts, got float32", np.ones((3, 2, 1), np.float32), {}),
        (ValueError, "raster: dt must be positive, got 0", np.ones((3, 1, 1), bool), {"dt": 0.0}),
        (TypeError, "raster: ax must be matplotlib Axes, got Figure", np.ones((3, 1, 1), bool), {"ax": Figure()}),
        (
            ValueError,
            "raster: groups must be one of channel, got 'class'",
            np.ones((3, 1, 1), bool),
            {"groups": "class"},
        ),
        (
            ValueError,
            "raster: spikes must have a channel axis for groups='channel'",
            np.ones((3, 1), bool),
            {"groups": "channel"},
        ),
        (
            ValueError,
            "raster: groups have shape (3,), the neurons have shape (2,)",
            np.ones((3, 1, 2), bool),
            {"groups": [0, 1, 2]},
        ),
        (
            TypeError,
            "raster: groups must be integers, got float64",
            np.ones((3, 1, 2), bool),
            {"groups": np.array([0.0, 1.0])},
        ),
        (
            ValueError,
            "raster: groups must be integers from 0, got -1",
            np.ones((3, 1, 2), bool),
            {"groups": np.array([0, -1])},
        ),
        (
            ValueError,
            "raster: labels must be as many as the groups, got 1 and 2",
            np.ones((3, 1, 2), bool),
            {"groups": "channel", "labels": ["a"]},
        ),
    ],
)
def test_what_a_raster_refuses(kind, message, spikes, options):
    with pytest.raises(kind, match=re.escape(message)):
        cs.plot.raster(spikes, **options)
